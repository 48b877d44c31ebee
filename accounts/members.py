"""Carries the members of a tenant from D1 into the tenant's object, as copies without a password.

D1 is written first and is the truth. Where the second write fails, `CopyFailed` says so, and
`sync_members` (or `manage.py sync_members SLUG`) repairs it, as often as one likes.
"""

import contextlib

from django.db import DatabaseError, IntegrityError, InterfaceError, transaction
from django.db.models import F, Value
from django.db.models.fields import CharField
from django.db.models.functions import Cast, Concat

from accounts.models import Membership, User
from do_bridge.tenancy import tenant_alias

# What a copy holds of a user; the password, the rights and the dates of sign-in stay in D1.
COPIED = ("username", "name", "first_name", "last_name", "is_active")
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
    copy_users([user], tenant.slug, what=f"{user} is")


def remove_member(user, tenant):
    """End a membership; the object keeps the copy, inactive, for its posts. Raises CopyFailed."""
    for membership in Membership.objects.filter(user=user, tenant=tenant):
        membership.delete()


def membership_of(user, slug):
    """Return the user's membership of the tenant, or None; one trip, none for an anonymous user."""
    if not user.is_authenticated:
        return None
    return Membership.objects.filter(user_id=user.pk, tenant__slug=slug).order_by().first()


def copy_users(users, slug, *, what="The users are"):
    """Write the copies of `users` into the tenant's object, new or not; raises CopyFailed.

    users: rows of D1. what: the start of the error's sentence.
    """
    users = list(users)
    if not users:
        return
    try:
        write_copies(users, tenant_alias(slug))
    except (DatabaseError, InterfaceError) as exc:
        raise CopyFailed(what, slug) from exc


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
        # A copy of somebody who was renamed after leaving may still hold a name that is another's now.
        User.objects.using(alias).filter(username__in=[copy.username for copy in copies]).exclude(
            pk__in=[copy.pk for copy in copies]
        ).update(username=Concat(Value("former-"), Cast(F("pk"), CharField())))
        User.objects.using(alias).bulk_create(
            copies, update_conflicts=True, unique_fields=["id"], update_fields=updated
        )


def deactivate_copy(user_id, slug):
    """Mark a former member's copy inactive; its posts keep their author. Raises CopyFailed."""
    try:
        User.objects.using(tenant_alias(slug)).filter(pk=user_id).update(is_active=False)
    except (DatabaseError, InterfaceError) as exc:
        raise CopyFailed("The member is removed", slug) from exc


def sync_members(tenant):
    """Bring the object's copies to what D1 says: members written, all others inactive.

    Returns how many members there are; raises CopyFailed.
    """
    members = list(User.objects.filter(memberships__tenant=tenant))
    copy_users(members, tenant.slug, what="The members are")
    try:
        stale = User.objects.using(tenant_alias(tenant.slug)).exclude(pk__in=[user.pk for user in members])
        stale.filter(is_active=True).update(is_active=False)
    except (DatabaseError, InterfaceError) as exc:
        raise CopyFailed("The members are", tenant.slug) from exc
    return len(members)
