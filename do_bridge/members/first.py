"""The rows for the first members of a new tenant."""

from functools import partial

from django.contrib.auth import get_user_model
from django.db import connections

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.creation import FirstMembers, made_now
from do_bridge.tenancy.tenants import slug_column, tenant_model

from .copies import free_names
from .models import DirtyFlag
from .shape import DIRECTORY, copied_fields, key_text, membership_model, tenant_link, unsaved_copy, user_link
from .triggers import NOW


def first_members(users):
    """Return the FirstMembers rows for a new tenant; `users` are rows of D1."""
    copies = [unsaved_copy(user) for user in users]
    return FirstMembers(
        copies=copies,
        places=[membership_model()(**{user_link().attname: user.pk}) for user in users],
        tenant_field=tenant_link().name,
        before=partial(free_names, copies=copies),
        after=partial(_settle_flags, copies),
    )


def _settle_flags(copies, slug):
    """Return statements that update the dirty flags after the copies were written.

    They remove the flags of members whose copies still equal D1's rows, and flag all others: a concurrent
    change may have been copied, and its flag removed, before these older values overwrote it. If the tenant's
    row existed before, they flag all members and remove no flag, because a copy may be missing or a
    membership may have ended.
    """
    connection = connections[conf(DIRECTORY)]
    quote = connection.ops.quote_name
    flags, tenants, users = (
        quote(model._meta.db_table) for model in (DirtyFlag, tenant_model(), get_user_model())
    )
    key, its_slug = (quote(name) for name in (get_user_model()._meta.pk.column, slug_column()))
    fields = copied_fields()
    same = " AND ".join(f"{quote(field.column)} IS %s" for field in fields)
    now = NOW.replace("%", "%%")
    settled = (
        f"DELETE FROM {flags} WHERE {made_now(connection)} AND slug = %s AND user_key = %s "  # noqa: S608
        f"AND EXISTS (SELECT 1 FROM {users} WHERE {key} = %s AND {same})"
    )
    flagged = (
        f"INSERT INTO {flags} (slug, user_key, since) "  # noqa: S608
        f"SELECT {its_slug}, %s, {now} FROM {tenants} WHERE {its_slug} = %s "
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
