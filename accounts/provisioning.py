"""The first members of a new tenant: their copies for its object, and their places in D1."""

from functools import partial

from django.db import connections

from accounts.members import COPIED, NO_PASSWORD, free_names
from accounts.models import Membership, OutOfStep, Tenant, User
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.creation import FirstMembers


def first_members(users):
    """Return what do_bridge writes for the first members of a new tenant: `users` are rows of D1."""
    copies = [
        User(pk=user.pk, password=NO_PASSWORD, email="", **{name: getattr(user, name) for name in COPIED})
        for user in users
    ]
    return FirstMembers(
        copies=copies,
        places=[Membership(user=user) for user in users],
        before=partial(free_names, copies=copies),
        after=partial(_take_marks_away, copies),
    )


def _take_marks_away(copies, slug):
    """Return the statements that end the marks of members whose copies are what D1 still says."""
    quote = connections[conf("DIRECTORY_ALIAS")].ops.quote_name
    marks, tenants, users = (quote(model._meta.db_table) for model in (OutOfStep, Tenant, User))
    same = " AND ".join(f"{quote(User._meta.get_field(name).column)} IS %s" for name in COPIED)
    sql = (
        f"DELETE FROM {marks} WHERE tenant_id = (SELECT id FROM {tenants} WHERE slug = %s) "  # noqa: S608
        f"AND user_key = (SELECT id FROM {users} WHERE id = %s AND {same})"
    )
    return [(sql, [slug, copy.pk, *(getattr(copy, name) for name in COPIED)]) for copy in copies]
