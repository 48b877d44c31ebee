"""Carries the members of a tenant from D1 into the tenant's object, as copies without a password.

D1 is written first and is the truth; its triggers (`accounts.marks`) note in the same statement that a copy
is out of step, and the note goes when the copy is written. Where that fails, `CopyFailed` says so; the next
use of the tenant repairs it, or `manage.py sync_members SLUG`, as often as one likes.
"""

import contextlib
import json
import logging
from functools import partial

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connections,
    transaction,
)
from django.db.models import Count, Exists, Max, Min, Q
from django.utils import timezone

import do_bridge
from accounts.models import Membership, OutOfStep, Tenant, User
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.copies import run_batch

logger = logging.getLogger("accounts.members")

# What a copy holds of a user; the password, the rights and the dates of sign-in stay in D1.
COPIED = ("username", "name", "first_name", "last_name", "is_active")
DIRECTORY = "default"
EVERYBODY = 0  # the key in a mark that stands for all members
NO_PASSWORD = "!copy"  # noqa: S105  (a hash that no password has)


class CopyFailed(Exception):
    """D1 holds the change, the tenant's object does not."""

    def __init__(self, what, *slugs):
        objects = "the object of tenant" if len(slugs) == 1 else "the objects of tenants"
        super().__init__(
            f"{what} in D1, but not in {objects} {', '.join(slugs)}: no answer as it should be. "
            f"Repair it with: manage.py sync_members {' '.join(slugs)}"
        )
        self.what = what
        self.slugs = slugs


def add_member(user, tenant, role=Membership.Role.MEMBER):
    """Make `user` a member of `tenant`, first in D1 and then in its object.

    Returns the membership; raises CopyFailed where D1 alone was written, IntegrityError for a second one.
    """
    return Membership.objects.create(user=user, tenant=tenant, role=role)


def add_member_by_name(tenant, username):
    """Make the user of that name a member, or renew their copy if they are one; for commands.

    Raises User.DoesNotExist, and CopyFailed.
    """
    user = User.objects.get(username=username)
    if not Membership.objects.filter(user=user, tenant=tenant).exists():
        # Whoever was quicker with the same membership has made the copy, too; it is renewed below.
        with contextlib.suppress(IntegrityError):
            add_member(user, tenant)
            return
    follow(tenant, [user.pk], f"{user} is")


def remove_member(user, tenant):
    """End a membership; the object keeps the copy, inactive, for its posts. Raises CopyFailed."""
    for membership in Membership.objects.filter(user=user, tenant=tenant):
        membership.delete()


def membership_of(user, slug):
    """Return the user's membership of the tenant, or None; one trip, none for an anonymous user."""
    if not user.is_authenticated:
        return None
    return Membership.objects.filter(user_id=user.pk, tenant__slug=slug).order_by().first()


def write_copies(users, alias, *, are_members=True):
    """Write the copies of `users` by `alias`, in one transaction with whatever is open there.

    are_members: False for staff and authors, who may be members or not; a new copy is inactive then, as
    those of all who are no members, and one that is there stays as active as it is.
    """
    copies = [
        User(pk=user.pk, password=NO_PASSWORD, email="", **{name: getattr(user, name) for name in COPIED})
        for user in users
    ]
    updated = [*COPIED, "password"]
    if not are_members:
        updated.remove("is_active")
        for copy in copies:
            copy.is_active = False
    with transaction.atomic(using=alias):
        run_batch(connections[alias], free_names(connections[alias], copies))
        User.objects.using(alias).bulk_create(
            copies, update_conflicts=True, unique_fields=["id"], update_fields=updated
        )


def free_names(connection, copies):
    """Return the statements by which the names that these copies will have are nobody else's any more.

    Members take each other's names, and a copy of somebody who was renamed after leaving keeps the old one.
    """
    table, name, key = (
        connection.ops.quote_name(text)
        for text in (User._meta.db_table, User._meta.get_field("username").column, User._meta.pk.column)
    )
    wanted = json.dumps([[copy.username, copy.pk] for copy in copies])
    # Anybody may be called so, too: then a part that nobody can have guessed keeps them apart.
    former = f"'former-' || {table}.{key}"
    taken = (
        f"EXISTS (SELECT 1 FROM {table} AS other WHERE other.{name} = {former}) "  # noqa: S608 - quoted names
        f"OR {former} IN (SELECT value->>0 FROM json_each(%s))"
    )
    sql = (
        f"UPDATE {table} SET {name} = {former} || "  # noqa: S608 - quoted names
        f"CASE WHEN {taken} THEN '-' || hex(randomblob(8)) ELSE '' END "
        f"WHERE {name} IN (SELECT value->>0 FROM json_each(%s)) "
        f"AND ({name}, {key}) NOT IN (SELECT value->>0, value->>1 FROM json_each(%s))"
    )
    return [(sql, (wanted, wanted, wanted))]


def follow(tenant, keys, what):
    """Bring the copies of some users in one tenant's object to what D1 says, and take their marks away.

    keys: primary keys of users, who may be gone; None for all. what: the start of the error's sentence.
    Returns how many of them are members; 0 for a tenant that is gone. Raises CopyFailed.
    """
    if (row := _read(tenant, keys)) is None:
        return 0
    try:
        count = _copy(row, keys)
    except (DatabaseError, InterfaceError) as exc:
        _mark_again(row, keys)
        raise CopyFailed(what, row.slug) from exc
    if row.marks:
        # At once, or after the block around it that may still undo the copy.
        transaction.on_commit(partial(_take_marks, row, keys), using=tenant_alias(row.slug))
    return count


def _read(tenant, keys):
    """Return the tenant's row with its `marks` counted, the last `mark` and the first `since`, or None."""
    of_them = Q() if keys is None else Q(out_of_step__user_key__in=keys)
    # Before the members are read: a change that comes later keeps its mark.
    found = Tenant.objects.filter(pk=tenant.pk).annotate(
        mark=Max("out_of_step__pk", filter=of_them),
        marks=Count("out_of_step__pk", filter=of_them),
        since=Min("out_of_step__since", filter=of_them),
    )
    return found.first()


def _copy(row, keys):
    """Write the copies, of members who are read while the object is held; return how many these are.

    Whoever else writes copies waits, and reads what is there then: an older one never comes after a newer.
    """
    alias = tenant_alias(row.slug)
    members = User.objects.filter(memberships__tenant=row).order_by("pk")
    with transaction.atomic(using=alias):
        # A transaction begins with its first statement.
        run_batch(connections[alias], [("SELECT 1", None)])
        users = list(members if keys is None else members.filter(pk__in=keys))
        _write(users, keys, alias)
    return len(users)


def _take_marks(row, keys):
    """Delete the marks that `row` was read with."""
    marks = OutOfStep.objects.filter(tenant_id=row.pk, pk__lte=row.mark)
    (marks if keys is None else marks.filter(user_key__in=keys)).delete()


def _mark_again(row, keys):
    """Put a mark behind all others: what failed may stand, later than something newer that took its marks."""
    marks = OutOfStep.objects.filter(tenant_id=row.pk, pk__lte=row.mark or 0)
    # The old ones may be there still: nobody failing again and again shall pile them up.
    with contextlib.suppress(DatabaseError, InterfaceError), do_bridge.batch(using=DIRECTORY):
        OutOfStep.objects.bulk_create(
            OutOfStep(tenant_id=row.pk, user_key=key, since=row.since or timezone.now())
            for key in ([EVERYBODY] if keys is None else keys)
        )
        (marks if keys is None else marks.filter(user_key__in=keys)).delete()
        # A tenant that was deleted meanwhile has taken its marks along.
        OutOfStep.objects.filter(~Exists(Tenant.objects.filter(pk=row.pk)), tenant_id=row.pk).delete()


def _write(users, keys, alias):
    """Write the members' copies; mark the others', among `keys` or among all, inactive for their posts."""
    if users:
        write_copies(users, alias)
    members = {user.pk for user in users}
    copies = User.objects.using(alias)
    if keys is None:
        copies.exclude(pk__in=members).filter(is_active=True).update(is_active=False)
    elif gone := set(keys) - members:
        copies.filter(pk__in=gone).update(is_active=False)


def sync_members(tenant):
    """Bring the object's copies to what D1 says: members written, all others inactive.

    Returns how many members there are; raises CopyFailed.
    """
    return follow(tenant, None, "The members are")


def repair_on_use(sender, tenant, **_kwargs):
    """Bring in step what is marked, when a tenant is about to be used; a failure is logged, and tried again.

    A receiver of `tenant_used`, whose row knows by `is_out_of_step` whether there is something to do.
    """
    if not getattr(tenant, "is_out_of_step", False):
        return
    try:
        keys = (
            OutOfStep.objects.filter(tenant=tenant).order_by().values_list("user_key", flat=True).distinct()
        )
        follow(tenant, None if EVERYBODY in keys else list(keys), "The members are")
    except (CopyFailed, DatabaseError, InterfaceError) as exc:
        logger.warning("The members of tenant %s stay out of step: %s", tenant.slug, exc)


def fill_places(sender, source, target, **_kwargs):
    """Give a tenant that was copied the members of its source; one that was loaded keeps D1's.

    A receiver of `tenant_filled`. A failure, also of a tenant that is still to be migrated, leaves a mark for
    everybody, and is logged.
    """
    tenant = Tenant.objects.get(slug=target)
    if source is not None:
        places = Membership.objects.filter(tenant__slug=source).values_list("user_id", "role")
        Membership.objects.bulk_create(
            [Membership(user_id=user_id, tenant=tenant, role=role) for user_id, role in places],
            ignore_conflicts=True,
        )
    try:
        sync_members(tenant)
    except CopyFailed as exc:
        logger.warning("%s", exc)
