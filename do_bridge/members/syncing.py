"""Carries members from D1 into tenants' objects.

D1 is written first and is the truth; its triggers set a dirty flag in the same statement, which goes when the
copy is written. If that fails, `CopyFailed` says so. The next use of the tenant repairs it, or
`manage.py sync_members SLUG`, as often as one likes.
"""

import contextlib
import logging
from functools import partial

from django.contrib.auth import get_user_model
from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Subquery
from django.utils import timezone

import do_bridge
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import tenant_model

from .copies import write_copies
from .models import DirtyFlag
from .shape import ACTIVE, DIRECTORY, is_copied, key_of, key_text, membership_model, tenant_link, user_link
from .triggers import EVERYBODY

logger = logging.getLogger("do_bridge.members")


class CopyFailed(Exception):
    """D1 holds the change, the tenant's object does not."""

    def __init__(self, what, *slugs):
        objects = "the object of tenant" if len(slugs) == 1 else "the objects of tenants"
        super().__init__(
            f"{what} in D1, but not in {objects} {', '.join(slugs)}, which did not answer as expected. "
            f"Repair it with `manage.py sync_members {' '.join(slugs)}`."
        )
        self.what = what
        self.slugs = slugs


def memberships(**conditions):
    """Return D1's memberships; conditions `user` and `tenant`, whatever the project calls these fields."""
    links = {"user": user_link().name, "tenant": tenant_link().name}
    rows = membership_model()._base_manager.using(conf(DIRECTORY))
    return rows.filter(**{links[name]: value for name, value in conditions.items()})


def add_member(user, tenant, **fields):
    """Make `user` a member of `tenant`, first in D1 and then in its object; `fields` are the membership's.

    Returns the membership. Raises CopyFailed if D1 alone was written, IntegrityError for a second one.
    """
    links = {user_link().name: user, tenant_link().name: tenant}
    return membership_model()._base_manager.using(conf(DIRECTORY)).create(**links, **fields)


def add_member_by_name(tenant, username):
    """Make the user of that name a member, or refresh their copy if they are one; for commands.

    Raises ObjectDoesNotExist, and CopyFailed.
    """
    user = (
        get_user_model()
        ._base_manager.using(conf(DIRECTORY))
        .get(**{get_user_model().USERNAME_FIELD: username})
    )
    if not memberships(user=user, tenant=tenant).exists():
        # Whoever was quicker with the same membership has made the copy, too; it is refreshed below.
        with contextlib.suppress(IntegrityError):
            add_member(user, tenant)
            return
    follow(tenant, [user.pk], f"{user} is")


def remove_member(user, tenant):
    """End a membership; the object keeps the copy, inactive, for its rows. Raises CopyFailed."""
    for membership in memberships(user=user, tenant=tenant):
        membership.delete()


def out_of_sync():
    """Return the tenants with changes that are not copied; `.behind_since` is the oldest one's time."""
    flags = DirtyFlag.objects.using(conf(DIRECTORY)).filter(slug=OuterRef("slug"))
    since = flags.order_by("pk").values("since")[:1]
    return (
        tenant_model()
        ._base_manager.using(conf(DIRECTORY))
        .filter(Exists(flags))
        .annotate(behind_since=Subquery(since))
        .order_by("slug")
    )


def row_annotations():
    """Return what a look-up of a tenant reads in the same round trip: `is_out_of_sync`."""
    return {"is_out_of_sync": Exists(DirtyFlag.objects.filter(slug=OuterRef("slug")))}


def _flags(slug, keys):
    """Return the tenant's dirty flags: of some users, or all for None."""
    flags = DirtyFlag.objects.using(conf(DIRECTORY)).filter(slug=slug)
    return flags if keys is None else flags.filter(user_key__in=[key_text(key) for key in keys])


def follow(tenant, keys, what):
    """Bring the copies of some users in one tenant's object to what D1 says, and remove their dirty flags.

    keys: primary keys of users, who may be gone; None for all. what: the start of the error's sentence.
    Returns how many of them are members; 0 for a tenant that is gone. Raises CopyFailed.
    """
    if (row := _read(tenant, keys)) is None:
        return 0
    try:
        count = _copy(row, keys)
    except (DatabaseError, InterfaceError) as exc:
        _flag_again(row, keys)
        raise CopyFailed(what, row.slug) from exc
    if row.flags:
        # At once, or after the block around it that may still undo the copy.
        transaction.on_commit(partial(_remove_flags, row, keys), using=tenant_alias(row.slug))
    return count


def _read(tenant, keys):
    """Return the tenant's row with its `flags` counted, the `last_flag` and the first `since`, or None."""
    # Before the members are read: a change that comes later keeps its flag.
    summed = _flags(OuterRef("slug"), keys).order_by().values("slug")
    summed = summed.annotate(last=Max("pk"), number=Count("pk"), first=Min("since"))
    rows = tenant_model()._base_manager.using(conf(DIRECTORY)).filter(pk=tenant.pk)
    return rows.annotate(
        last_flag=Subquery(summed.values("last")),
        flags=Subquery(summed.values("number")),
        since=Subquery(summed.values("first")),
    ).first()


def _copy(row, keys):
    """Write the copies, of members who are read while the object is held; return how many these are.

    Whoever else writes copies waits, and reads what is there then: an older one never comes after a newer.
    """
    alias = tenant_alias(row.slug)
    places = memberships(tenant=row).filter(**{user_link().name: OuterRef("pk")})
    members = get_user_model()._base_manager.using(conf(DIRECTORY)).filter(Exists(places)).order_by("pk")
    with transaction.atomic(using=alias):
        # A transaction begins with its first statement.
        run_batch(connections[alias], [("SELECT 1", None)])
        users = list(members if keys is None else members.filter(pk__in=keys))
        _write(users, keys, alias)
    return len(users)


def _remove_flags(row, keys):
    """Delete the dirty flags that `row` was read with."""
    _flags(row.slug, keys).filter(pk__lte=row.last_flag).delete()


def _flag_again(row, keys):
    """Set a flag behind all others: what failed may stand, later than something newer that took its flags."""
    # The old ones may be there still: failing again and again must not pile them up.
    with contextlib.suppress(DatabaseError, InterfaceError), do_bridge.batch(using=conf(DIRECTORY)):
        DirtyFlag.objects.using(conf(DIRECTORY)).bulk_create(
            DirtyFlag(slug=row.slug, user_key=key, since=row.since or timezone.now())
            for key in ([EVERYBODY] if keys is None else map(key_text, keys))
        )
        _flags(row.slug, keys).filter(pk__lte=row.last_flag or 0).delete()
        # A tenant that was deleted in between has taken its flags along.
        tenants = tenant_model()._base_manager.using(conf(DIRECTORY)).filter(slug=row.slug)
        _flags(row.slug, None).filter(~Exists(tenants)).delete()


def _write(users, keys, alias):
    """Write the members' copies; make the others', among `keys` or among all, inactive for their rows."""
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


def sync_members(tenant):
    """Bring the object's copies to what D1 says: members written, all others inactive.

    Returns how many members there are. Raises CopyFailed.
    """
    return follow(tenant, None, "The members are")


def repair_on_use(sender, tenant, **kwargs):
    """Refresh dirty copies when a tenant is about to be used; a failure is logged, and tried again.

    A receiver of `tenant_used`, whose row says by `is_out_of_sync` whether there is something to do.
    """
    if not getattr(tenant, "is_out_of_sync", False):
        return
    try:
        keys = _flags(tenant.slug, None).order_by().values_list("user_key", flat=True).distinct()
        follow(tenant, None if EVERYBODY in keys else [key_of(key) for key in keys], "The members are")
    except (CopyFailed, DatabaseError, InterfaceError) as exc:
        logger.warning("The members of tenant %s stay out of sync: %s", tenant.slug, exc)


def fill_places(sender, source, target, **kwargs):
    """Give a tenant that was copied the members of its source; one that was loaded keeps D1's.

    A receiver of `tenant_filled`. A failure, also of a tenant that is still to be migrated, leaves a flag for
    everybody, and is logged.
    """
    tenant = tenant_model()._base_manager.using(conf(DIRECTORY)).get(slug=target)
    if source is not None:
        origin = tenant_model()._base_manager.using(conf(DIRECTORY)).filter(slug=source)
        _copy_places(origin.get(), tenant)
    try:
        sync_members(tenant)
    except CopyFailed as exc:
        logger.warning("%s", exc)


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
