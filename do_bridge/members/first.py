"""The first members of a new tenant: their copies for its object, and their places in D1."""

from functools import partial

from django.contrib.auth import get_user_model
from django.db import connections

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.creation import FirstMembers, made_now
from do_bridge.tenancy.tenants import tenant_model

from .copies import free_names
from .models import DirtyFlag
from .shape import DIRECTORY, copied_fields, key_text, membership_model, tenant_link, unsaved_copy, user_link
from .triggers import NOW


def first_members(users):
    """Return what do_bridge writes for the first members of a new tenant: `users` are rows of D1."""
    copies = [unsaved_copy(user) for user in users]
    return FirstMembers(
        copies=copies,
        places=[membership_model()(**{user_link().attname: user.pk}) for user in users],
        tenant_field=tenant_link().name,
        before=partial(free_names, copies=copies),
        after=partial(_settle_flags, copies),
    )


def _settle_flags(copies, slug):
    """Return the statements that remove the flags of members whose copies are what D1 still says.

    They flag the others. A change that was copied in between had its flag removed, and was overwritten by
    what was read before. In a tenant that had its row before, all are flagged and no flag is removed: a copy
    may be missing, and a membership may have ended in between.
    """
    connection = connections[conf(DIRECTORY)]
    quote = connection.ops.quote_name
    flags, tenants, users = (
        quote(model._meta.db_table) for model in (DirtyFlag, tenant_model(), get_user_model())
    )
    key = quote(get_user_model()._meta.pk.column)
    fields = copied_fields()
    same = " AND ".join(f"{quote(field.column)} IS %s" for field in fields)
    now = NOW.replace("%", "%%")
    settled = (
        f"DELETE FROM {flags} WHERE {made_now(connection)} AND slug = %s AND user_key = %s "  # noqa: S608
        f"AND EXISTS (SELECT 1 FROM {users} WHERE {key} = %s AND {same})"
    )
    flagged = (
        f"INSERT INTO {flags} (slug, user_key, since) "  # noqa: S608
        f"SELECT slug, %s, {now} FROM {tenants} WHERE slug = %s "
        f"AND (NOT {made_now(connection)} "
        f"OR EXISTS (SELECT 1 FROM {users} WHERE {key} = %s AND NOT ({same})))"
    )
    made = []
    for copy in copies:
        text = key_text(copy.pk)
        row = [get_user_model()._meta.pk.get_db_prep_value(copy.pk, connection)]
        row += [field.get_db_prep_save(getattr(copy, field.attname), connection) for field in fields]
        made += [(settled, [slug, slug, text, *row]), (flagged, [text, slug, slug, *row])]
    return made
