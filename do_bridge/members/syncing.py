"""Copy members from D1 into the tenants' Durable Objects.

D1 is written first, and its triggers set a dirty flag in the same statement. The flag is removed when the
copy has been written. If the copy fails, CopyFailed is raised. The next use of the tenant, or
`manage.py sync_members SLUG`, repairs the copy.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Subquery
from django.utils import timezone

import do_bridge
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import tenant_model, with_valid_slugs

from .copies import write_copies
from .models import DirtyFlag
from .shape import ACTIVE, DIRECTORY, is_copied, key_of, key_text, membership_model, tenant_link, user_link
from .triggers import EVERYBODY, flag_statement

logger = logging.getLogger("do_bridge.members")


class CopyFailed(Exception):
    """A change was saved in D1 but could not be copied into a tenant.

    `what` names the change, `slugs` the tenants.
    """

    def __init__(self, what: str, *slugs: str) -> None:
        databases = "the database of tenant" if len(slugs) == 1 else "the databases of tenants"
        super().__init__(
            f"{what} was saved in the shared database, but could not be copied into {databases} "
            f"{', '.join(slugs)}. Run `manage.py sync_members {' '.join(slugs)}` to copy it."
        )
        self.what = what
        self.slugs = slugs


def memberships(**conditions):
    """Return D1's memberships with the given `user` and `tenant`.

    The conditions have these names whatever the project calls its foreign keys.
    """
    links = {"user": user_link().name, "tenant": tenant_link().name}
    rows = membership_model()._base_manager.using(conf(DIRECTORY))
    return rows.filter(**{links[name]: value for name, value in conditions.items()})


def add_member(user: Any, tenant: Any, **fields: Any) -> Any:
    """Make `user` a member of `tenant` and return the membership.

    `fields` are other fields of the membership. D1 is written first, then the tenant's Durable Object. Raises
    CopyFailed if only D1 was written, and IntegrityError if the project's membership is unique and exists.
    """
    links = {user_link().name: user, tenant_link().name: tenant}
    return membership_model()._base_manager.using(conf(DIRECTORY)).create(**links, **fields)


def add_member_by_name(tenant, username):
    """Make the user with this name a member.

    If the user is a member, it refreshes the copy. Commands use it. Raises ObjectDoesNotExist for an unknown
    user, and CopyFailed.
    """
    user = (
        get_user_model()
        ._base_manager.using(conf(DIRECTORY))
        .get(**{get_user_model().USERNAME_FIELD: username})
    )
    if not memberships(user=user, tenant=tenant).exists():
        # Another process may have added the same member at the same time; the copy is refreshed below.
        with contextlib.suppress(IntegrityError):
            add_member(user, tenant)
            return
    follow(tenant, [user.pk], f"The membership of {user}")


def remove_member(user: Any, tenant: Any) -> None:
    """End a membership. Raises CopyFailed.

    The tenant's database keeps the copy, because rows refer to it, but makes it inactive.
    """
    for membership in memberships(user=user, tenant=tenant):
        membership.delete()


def out_of_sync() -> Any:
    """Return the tenants that lack changes of members.

    `.behind_since` is the time of the oldest one.
    """
    flags = DirtyFlag.objects.using(conf(DIRECTORY)).filter(slug=OuterRef("slug"))
    since = flags.order_by("pk").values("since")[:1]
    tenants = with_valid_slugs().filter(Exists(flags))
    return tenants.annotate(behind_since=Subquery(since)).order_by("slug")


def row_annotations():
    """Return the annotation `is_out_of_sync` of a tenant's row.

    A look-up of a tenant reads it in the same round trip.
    """
    return {"is_out_of_sync": Exists(DirtyFlag.objects.filter(slug=OuterRef("slug")))}


def _flags(slug, keys):
    """Return the tenant's dirty flags for some users, or all for None.

    `keys` are the users' primary keys.
    """
    flags = DirtyFlag.objects.using(conf(DIRECTORY)).filter(slug=slug)
    return flags if keys is None else flags.filter(user_key__in=[key_text(key) for key in keys])


def follow(tenant, keys, what):
    """Update copies of users in one tenant, and remove their dirty flags.

    `keys` are primary keys of users, who may have been deleted, or None for all. `what` names the change in
    the error message. Returns the number of members among them, or 0 if the tenant was deleted. Raises
    CopyFailed.
    """
    if (row := _read(tenant, keys)) is None:
        return 0
    try:
        count = _copy(row, keys)
    except (DatabaseError, InterfaceError) as exc:
        _flag_again(row, keys)
        raise CopyFailed(what, row.slug) from exc
    if row.flags:
        # A block around this call may still roll the copy back.
        transaction.on_commit(partial(_remove_flags, row, keys), using=tenant_alias(row.slug))
    return count


def _read(tenant, keys):
    """Return the tenant's row with facts about its dirty flags, or None.

    The annotations are `flags` (their count), `last_flag` and `since`.
    """
    # Read before the members, so that a later change keeps its flag.
    summed = _flags(OuterRef("slug"), keys).order_by().values("slug")
    summed = summed.annotate(last=Max("pk"), number=Count("pk"), first=Min("since"))
    rows = with_valid_slugs().filter(pk=tenant.pk)
    return rows.annotate(
        last_flag=Subquery(summed.values("last")),
        flags=Subquery(summed.values("number")),
        since=Subquery(summed.values("first")),
    ).first()


def _copy(row, keys):
    """Read the members from D1 while the tenant's Durable Object is locked.

    Write and count their copies. The lock makes other writers of copies wait, so that older values never
    overwrite newer ones.
    """
    alias = tenant_alias(row.slug)
    places = memberships(tenant=row).filter(**{user_link().name: OuterRef("pk")})
    members = get_user_model()._base_manager.using(conf(DIRECTORY)).filter(Exists(places)).order_by("pk")
    with transaction.atomic(using=alias):
        # The transaction, and with it the lock, begins with the first statement.
        run_batch(connections[alias], [("SELECT 1", None)])
        users = list(members if keys is None else members.filter(pk__in=keys))
        _write(users, keys, alias)
    return len(users)


def _remove_flags(row, keys):
    """Delete the dirty flags that `row` was read with."""
    _flags(row.slug, keys).filter(pk__lte=row.last_flag).delete()


def _flag_again(row, keys):
    """Set a new dirty flag after a failed write.

    The write may still arrive and overwrite newer values.
    """
    # Older flags are deleted below, so that repeated failures do not accumulate them.
    with contextlib.suppress(DatabaseError, InterfaceError), do_bridge.batch(using=conf(DIRECTORY)):
        DirtyFlag.objects.using(conf(DIRECTORY)).bulk_create(
            DirtyFlag(slug=row.slug, user_key=key, since=row.since or timezone.now())
            for key in ([EVERYBODY] if keys is None else map(key_text, keys))
        )
        _flags(row.slug, keys).filter(pk__lte=row.last_flag or 0).delete()
        # If the tenant was deleted in between, its flags must go too.
        tenants = tenant_model()._base_manager.using(conf(DIRECTORY)).filter(slug=row.slug)
        _flags(row.slug, None).filter(~Exists(tenants)).delete()


def _write(users, keys, alias):
    """Write the copies of members, and make other copies inactive.

    The other copies are those among `keys`, or all for None.
    """
    if users:
        write_copies(users, alias)
    if not is_copied(ACTIVE):
        return
    members = {user.pk for user in users}
    copies = get_user_model()._base_manager.using(alias)
    if keys is None:
        copies.exclude(pk__in=members).filter(**{ACTIVE: True}).update(**{ACTIVE: False})
    elif gone := set(keys) - members:
        copies.filter(pk__in=gone).update(**{ACTIVE: False})


def sync_members(tenant: Any) -> int:
    """Write the copies of all members, and make other copies inactive.

    Returns the number of members. Raises CopyFailed.
    """
    return follow(tenant, None, "The current list of members")


def repair_on_use(sender, tenant, **kwargs):
    """Update copies that are out of sync before a tenant is used; log a failure.

    A receiver of `tenant_used`. The next use of the tenant tries again after a failure.
    """
    if not getattr(tenant, "is_out_of_sync", False):
        return
    try:
        keys = _flags(tenant.slug, None).order_by().values_list("user_key", flat=True).distinct()
        users = None if EVERYBODY in keys else [key_of(key) for key in keys]
        follow(tenant, users, "The current list of members")
    except (CopyFailed, DatabaseError, InterfaceError) as exc:
        logger.warning("The copies of members of tenant %s are still out of sync: %s", tenant.slug, exc)


def fill_places(sender, source, target, **kwargs):
    """Write the copies of a new tenant's members.

    A copied tenant first gets the members of its source. A receiver of `tenant_filled`; `source` is None for
    a tenant that was loaded from a file. A failure is logged and leaves a dirty flag for all members, for
    example if the tenant still has to be migrated.
    """
    slugs = [target] if source is None else [target, source]
    rows = tenant_model()._base_manager.using(conf(DIRECTORY)).filter(slug__in=slugs)
    found = {row.slug: row for row in rows}
    if (tenant := found.get(target)) is None:
        # Another process has deleted it.
        return
    if source in found:
        _copy_places(found[source], tenant)
    elif source is not None:
        logger.warning(
            "Tenant %s has no members, because %s was deleted while it was copied.", target, source
        )
    try:
        sync_members(tenant)
    except CopyFailed as exc:
        logger.warning("%s", exc)


def flag_everybody(sender, target, **kwargs):
    """Set a dirty flag for all members of a tenant.

    A receiver of `tenant_filling`.
    """
    run_batch(connections[conf(DIRECTORY)], [flag_statement(target)])


def flag_all(sender, **kwargs):
    """Set a dirty flag for all members of each tenant.

    A receiver of `shared_restored`.
    """
    tenants = tenant_model()._base_manager.using(conf(DIRECTORY))
    slugs = list(tenants.order_by().values_list("slug", flat=True))
    flags = DirtyFlag.objects.using(conf(DIRECTORY))
    with do_bridge.batch(using=conf(DIRECTORY)):
        flags.all().delete()
        flags.bulk_create(DirtyFlag(slug=slug, user_key=EVERYBODY, since=timezone.now()) for slug in slugs)


def _copy_places(source, target):
    model = membership_model()
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    fields.remove(tenant_link())
    model._base_manager.using(conf(DIRECTORY)).bulk_create(
        [
            model(
                **{tenant_link().attname: target.pk},
                **{field.attname: getattr(place, field.attname) for field in fields},
            )
            for place in memberships(tenant=source)
        ],
        ignore_conflicts=True,
    )
