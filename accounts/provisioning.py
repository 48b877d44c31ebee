"""The first members of a new tenant: their copies for its object, and their places in D1."""

from functools import partial

from django.db import connections

from accounts.marks import NOW
from accounts.members import COPIED, NO_PASSWORD, free_names
from accounts.models import Membership, OutOfStep, Tenant, User
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.creation import FirstMembers, made_now


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
        after=partial(_settle_marks, copies),
    )


def _settle_marks(copies, slug):
    """End the marks of members whose copies are what D1 still says, and mark the others: by statements.

    A change that was copied in between had its mark taken away, and was overwritten by what was read before.
    A membership of a tenant that had its row before may have ended in between, with a copy that is inactive
    now: there no mark ends.
    """
    connection = connections[conf("DIRECTORY_ALIAS")]
    quote = connection.ops.quote_name
    marks, tenants, users = (quote(model._meta.db_table) for model in (OutOfStep, Tenant, User))
    same = " AND ".join(f"{quote(User._meta.get_field(name).column)} IS %s" for name in COPIED)
    now = NOW.replace("%", "%%")
    tenant = f"(SELECT id FROM {tenants} WHERE slug = %s)"  # noqa: S608
    took = (
        f"DELETE FROM {marks} WHERE {made_now(connection)} AND tenant_id = {tenant} "  # noqa: S608
        f"AND user_key = (SELECT id FROM {users} WHERE id = %s AND {same})"
    )
    marked = (
        f"INSERT INTO {marks} (tenant_id, user_key, since) "  # noqa: S608
        f"SELECT {tenant}, id, {now} FROM {users} WHERE id = %s AND NOT ({same})"
    )
    values = [[slug, copy.pk, *(getattr(copy, name) for name in COPIED)] for copy in copies]
    return [one for params in values for one in ((took, [slug, *params]), (marked, params))]
