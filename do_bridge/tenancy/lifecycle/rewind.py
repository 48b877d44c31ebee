"""Take a tenant's object back to a moment of its history, under a lease."""

from dataclasses import dataclass, replace
from functools import partial

from django.core.management import call_command
from django.db import DatabaseError, Error, connections

from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.errors import TenantUnclaimed
from do_bridge.tenancy.schema.fingerprint import lacking
from do_bridge.tenancy.slugs import tenant_alias
from do_bridge.tenancy.tenants import lookup

from . import bookmarks, leases
from .emptying import connected, noticing, settle
from .fencing import fence, fenced, raise_fence
from .looking import read_tenant, unchecked
from .signals import tenant_filled
from .states import Content, Do, Operation, content

# How often a restore is sent whose outcome is unknown: restoring a bookmark again does no harm.
_ATTEMPTS = 3
_KEYS = {("contenttypes", "0001_initial"), ("auth", "0001_initial")}


class NotRewound(DatabaseError):
    """A tenant was not rewound.

    It is as it was before, or has to be rewound again: the message says which.
    """


@dataclass
class Rewound:
    """A tenant that was taken back to a bookmark.

    `undo` is the bookmark that leads back. `migrated` is whether the schema was older than the code, and was
    migrated.
    """

    slug: str
    bookmark: str
    undo: str
    fingerprint: str
    migrated: bool = False


def rewind_tenant(slug, bookmark, *, keeps_schema=False, on_undo=None):
    """Take the object of tenant `slug` back to a bookmark; return a Rewound.

    Until it has finished nobody uses the tenant, also if this process is killed; then the same call finishes
    it. The bookmark that undoes it is kept in D1 before anything is done, and `on_undo(bookmark)` is called
    with it. An older schema is migrated, unless `keeps_schema`. If the object held nothing of the tenant at
    that moment, everything is undone, and NotRewound is raised.

    Raises Held, Unfinished, TenantUnclaimed and Django's database errors.
    """
    reading = partial(read_tenant, slug)
    lease = leases.take(slug, Operation.REWIND, reading, noting=bookmarks.before_rewind)
    if not lease.fence:
        _refuse(lease)
    try:
        with leases.kept(lease), noticing(lease):
            rewound = _rewind(lease, bookmark, keeps_schema, on_undo)
    except _NothingDone as stop:
        leases.give_back([lease])
        raise stop.error from stop.error.__cause__
    except _Undone as stop:
        settle(lease, lease.row.fingerprint)
        raise stop.error from None
    except BaseException as error:
        if not isinstance(error, leases.LeaseError):
            leases.fail(lease, error)
        raise
    finally:
        lookup.forget(slug)
    settle(lease, rewound.fingerprint)
    return rewound


class _Stopped(Exception):
    def __init__(self, error):
        super().__init__(str(error))
        self.error = error


class _NothingDone(_Stopped):
    """Nothing was done under the lease."""


class _Undone(_Stopped):
    """What was done under the lease was undone."""


def _refuse(lease):
    leases.refuse(lease)
    if lease.step == Do.GONE:
        raise NotRewound(f"Tenant {lease.slug!r} was deleted, so it can't be restored.")
    raise TenantUnclaimed(lease.slug)


def _rewind(lease, bookmark, keeps_schema, on_undo):
    undo = _undo(lease)
    if on_undo is not None:
        on_undo(undo)
    exact = _restore(lease, bookmark)
    held = read_tenant(lease.slug)
    # What is still on its way under the lease, as a restore that was sent twice, is refused from now on.
    later = replace(lease, fence=lease.fence + 1)
    if problem := _problem(lease, held):
        _go_back(lease, later, undo)
        raise _Undone(NotRewound(problem))
    alias = tenant_alias(lease.slug)
    with unchecked(alias):
        raise_fence(connections[alias], later)
        reached, migrated = _brought(later, held, keeps_schema)
        tenant_filled.send(sender=None, source=None, target=lease.slug)
    # A repeated restore returned the way back to the first one.
    bookmarks.note_used(lease, bookmark, exact if lease.row.operation != Operation.REWIND else None)
    return Rewound(lease.slug, bookmark, bookmarks.undo_of(lease), reached, migrated)


def _undo(lease):
    """Return the bookmark that undoes the rewind, as it came with the lease."""
    try:
        undo = bookmarks.undo_of(lease)
    except DatabaseError as error:
        raise _NothingDone(error) from error
    if undo is None:
        text = f"D1 did not keep the bookmark that undoes this. Tenant {lease.slug!r} is as it was."
        raise _NothingDone(NotRewound(text))
    return undo


def _restore(lease, bookmark, is_sure=True):
    """Restore a bookmark; return the one that undoes it exactly.

    Return None if the answer with it was lost. The object has the lease's fencing token until it is
    restored, which shows whether it was.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with connected(tenant_alias(lease.slug)) as connection:
                undo = fence(connection, lease).restore(bookmark)
        except Error as error:
            if getattr(error.__cause__, "effect", None) != "unknown":
                if attempt or lease.row.operation == Operation.REWIND or not is_sure:
                    raise
                raise _NothingDone(error) from error
            undo = None
        if read_tenant(lease.slug).fence != lease.fence:
            return undo if not attempt else None
    raise NotRewound(
        f"The relay did not restore tenant {lease.slug!r}, or its answer was lost {_ATTEMPTS} times. "
        "Run `manage.py tenant_restore` again."
    )


def _problem(lease, held):
    """Return why what the object held at that moment is of no use, or an empty text."""
    if held.has_tables and content(lease.row, held) == Content.LEFT_OVER:
        return (
            f"At that moment the database of {lease.slug!r} was a former tenant's, which was deleted since. "
            "The tenant is as it was. Choose a later moment."
        )
    if not held.fingerprint:
        return (
            f"At that moment tenant {lease.slug!r} had no data, or was being filled. The tenant is as it "
            "was. Choose a later moment."
        )
    return ""


def _go_back(lease, later, undo):
    """Undo a restore whose result is of no use."""
    alias = tenant_alias(lease.slug)
    with unchecked(alias):
        raise_fence(connections[alias], lease)
    _restore(lease, undo, is_sure=False)
    with unchecked(alias):
        raise_fence(connections[alias], later)


def _brought(lease, held, keeps_schema):
    """Give a rewound object this code's schema and D1's keys.

    Return (the schema fingerprint reached, whether the object was migrated).
    """
    alias = tenant_alias(lease.slug)
    reached = known.learn(held.applied)
    migrated = not keeps_schema and bool(lacking(held.applied))
    with fenced(alias, lease):
        if migrated:
            call_command(
                "migrate", database=alias, interactive=False, verbosity=0, noted=False, skip_checks=True
            )
            reached = connections[alias].schema_fingerprint
        if held.applied >= _KEYS:
            copy_content_types(alias)
    return reached, migrated
