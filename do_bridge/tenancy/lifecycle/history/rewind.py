"""Take a tenant's object back to a moment of its history, under a lease."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from django.core.management import call_command
from django.db import DatabaseError, Error, connections

from do_bridge.tenancy.lifecycle.emptying import connected, noticing, settle
from do_bridge.tenancy.lifecycle.fencing import fence, fenced, is_fenced, raise_fence
from do_bridge.tenancy.lifecycle.freezing import thaw
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant, unchecked
from do_bridge.tenancy.lifecycle.signals import tenant_filled
from do_bridge.tenancy.lifecycle.states import MOVING, Content, Do, Operation, content
from do_bridge.tenancy.places import NONE
from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.errors import TenantUnclaimed
from do_bridge.tenancy.schema.fingerprint import lacking
from do_bridge.tenancy.slugs import tenant_alias
from do_bridge.tenancy.tenants import lookup

from . import bookmarks

# How often a restore is sent whose outcome is unknown: restoring a bookmark again does no harm.
_ATTEMPTS = 3
_FORMER = (
    "At that moment the database of {!r} was a former tenant's, which was deleted since. The tenant is as it "
    "was. Choose a later moment."
)
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

    Until it has finished, no process uses the tenant, even if this one is killed; then the same call finishes
    it. The bookmark that undoes it is kept in D1 before anything is done. If this fails after the object may
    have been changed, `on_undo(bookmark)` is called with it. If nothing was done, the bookmark is dropped.
    An older schema is migrated, unless `keeps_schema`. If the object held nothing of the tenant at that
    moment, everything is undone, and NotRewound is raised.

    Raises Held, Unfinished, TenantUnclaimed and Django's database errors.
    """
    reading = partial(read_tenant, slug)
    lease = leases.take(slug, Operation.REWIND, reading, noting=bookmarks.before_rewind)
    if not lease.fence:
        _refuse(lease)
    work = _Rewind(lease)
    try:
        rewound = work.run(bookmark, keeps_schema)
    except _NothingDone as stop:
        leases.give_back([work.lease])
        if not work.is_again:
            with suppress(DatabaseError):
                bookmarks.drop_undo(work.lease)
        raise stop.error from stop.error.__cause__
    except _Undone as stop:
        settle(work.lease, lease.row.fingerprint)
        raise stop.error from None
    except BaseException as error:
        if not isinstance(error, leases.LeaseError):
            leases.fail(work.lease, error)
        if on_undo is not None and work.undo is not None:
            on_undo(work.undo)
        raise
    finally:
        lookup.forget(slug)
    settle(work.lease, rewound.fingerprint)
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


class _Rewind:
    """One rewind under a lease, whose fencing token grows with each restore.

    So a restore that is still on its way, because it was sent twice, is refused afterwards.
    """

    def __init__(self, lease):
        self.lease = lease
        self.row = lease.row
        self.alias = tenant_alias(lease.slug)
        #: The bookmark that undoes this, once it is known to be kept.
        self.undo = None
        self._has_restored = False

    def run(self, bookmark, keeps_schema):
        """Do everything but the end of the lease; return the Rewound."""
        with leases.kept(self.lease), noticing(self.lease):
            self.undo = _undo(self.lease, bookmark)
            # Before the restore is sent: without the token an object that it never reached looks restored.
            with unchecked(self.alias):
                raise_fence(connections[self.alias], self.lease)
            exact = self._restore(bookmark)
            held = read_tenant(self.lease.slug)
            self._close()
        with leases.kept(self.lease), noticing(self.lease):
            if problem := _problem(self.row, held):
                self._restore(self.undo)
                self._close()
                raise _Undone(NotRewound(problem))
            with unchecked(self.alias):
                reached, migrated = self._brought(held, keeps_schema)
                tenant_filled.send(sender=None, source=None, target=self.lease.slug)
            # After an interruption the first way back counts, not that of the last restore.
            bookmarks.note_used(self.lease, bookmark, None if self.is_again else exact)
            return Rewound(self.lease.slug, bookmark, bookmarks.undo_of(self.lease), reached, migrated)

    @property
    def is_again(self):
        """Whether an interrupted rewind is run again."""
        return self.row.operation == Operation.REWIND

    def _restore(self, bookmark):
        """Restore a bookmark; return the one that undoes it exactly.

        Return None if the answer with it was lost. The object has the lease's fencing token until it is
        restored, which shows whether it was.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with connected(self.alias) as connection:
                    undo = fence(connection, self.lease).restore(bookmark)
            except Error as error:
                if getattr(error.__cause__, "effect", None) != "unknown":
                    if attempt or self.is_again or self._has_restored or is_fenced(error):
                        raise
                    raise _NothingDone(error) from error
                undo = None
            if read_tenant(self.lease.slug).fence != self.lease.fence:
                self._has_restored = True
                return undo if not attempt else None
        raise NotRewound(
            f"The relay did not restore tenant {self.lease.slug!r}, or its answer was lost {_ATTEMPTS} "
            "times. Run `manage.py tenant_restore` again."
        )

    def _close(self):
        """Give the lease its next fencing token, and the object too."""
        self.lease = leases.advance(self.lease, bookmarks.follow(self.lease))
        with unchecked(self.alias):
            raise_fence(connections[self.alias], self.lease)

    def _brought(self, held, keeps_schema):
        """Give a rewound object this code's schema and D1's keys.

        Return (the schema fingerprint reached, whether the object was migrated).
        """
        reached = known.learn(held.applied)
        migrated = not keeps_schema and bool(lacking(held.applied))
        with fenced(self.alias, self.lease):
            if migrated:
                options = {"interactive": False, "verbosity": 0, "noted": False, "skip_checks": True}
                call_command("migrate", database=self.alias, **options)
                reached = connections[self.alias].schema_fingerprint
            elif held.fingerprint == MOVING:
                # The moment was in the middle of a move.
                thaw(connections[self.alias], self.lease)
            if held.applied >= _KEYS:
                copy_content_types(self.alias)
        return reached, migrated


def _undo(lease, bookmark):
    """Return the bookmark that undoes the rewind, as it came with the lease."""
    try:
        undo = bookmarks.undo_of(lease)
        place = bookmarks.place_of(lease.slug, bookmark)
    except DatabaseError as error:
        raise _NothingDone(error) from error
    if place is not None and place != lease.row.jurisdiction:
        raise _NothingDone(
            NotRewound(
                f"The bookmark is from the object in the jurisdiction {place or NONE!r}, which tenant "
                f"{lease.slug!r} has left. The tenant is as it was. Choose a moment since the move."
            )
        )
    if lease.row.operation != Operation.REWIND and bookmarks.is_of_former_life(lease.row, bookmark):
        raise _NothingDone(NotRewound(_FORMER.format(lease.slug)))
    if undo is None:
        text = f"D1 did not keep the bookmark that undoes this. Tenant {lease.slug!r} is as it was."
        raise _NothingDone(NotRewound(text))
    return undo


def _problem(row, held):
    """Return why what the object held at that moment is of no use, or an empty text."""
    if held.has_tables and content(row, held) == Content.LEFT_OVER:
        return _FORMER.format(row.slug)
    if not held.fingerprint:
        return (
            f"At that moment tenant {row.slug!r} had no data, or was being filled. The tenant is as it "
            "was. Choose a later moment."
        )
    return ""
