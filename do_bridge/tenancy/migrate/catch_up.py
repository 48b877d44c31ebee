"""Let code run on any schema that has its migrations.

A tenant without them is migrated on first use.
"""

import logging
import threading
import time
import weakref
from functools import partial

from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from do_bridge.tenancy import places
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import unset_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.emptying import fail, settle
from do_bridge.tenancy.lifecycle.fencing import is_fenced, read_object
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import (
    close_to_older,
    is_elsewhere,
    is_unchecked,
    read_tenant,
    unchecked,
)
from do_bridge.tenancy.lifecycle.lost import lost_row, record_lost
from do_bridge.tenancy.lifecycle.outside import in_thread
from do_bridge.tenancy.lifecycle.provision import not_ready, ready, unfinished
from do_bridge.tenancy.lifecycle.states import MOVING, Do, Operation, State
from do_bridge.tenancy.places import follow
from do_bridge.tenancy.replicated.contenttypes import directory_is_closed
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.errors import (
    CodeTooOld,
    TenantBehind,
    TenantElsewhere,
    TenantGone,
    TenantUnclaimed,
)
from do_bridge.tenancy.schema.expecting import is_mismatch
from do_bridge.tenancy.slugs import alias_slug, tenant_alias
from do_bridge.tenancy.tenants import lookup

from .executor import settle_fingerprint

logger = logging.getLogger("do_bridge.migrations")

#: Seconds for which a process does not try again what has just failed.
PAUSE_AFTER_FAILURE = 30
_FAILED = "The tenant's schema is behind this code and could not be migrated. The log contains the reason."


_guard = threading.Lock()
_locks = weakref.WeakValueDictionary()
_failures = {}


class _Lock:
    """A lock that can be referenced weakly, so that only locks in use are kept."""

    def __init__(self):
        self.lock = threading.Lock()


def watch_connections():
    """Let every connection to a tenant expect a schema on which this code runs."""
    connection_created.connect(_expect_schema, dispatch_uid="do_bridge.expect_schema")


def _expect_schema(sender, connection, **kwargs):
    driver_connection = connection.connection
    if alias_slug(connection.alias) is None or not hasattr(driver_connection, "on_mismatch"):
        return
    driver_connection.expect = None if is_unchecked() else known.expected(driver_connection.database)
    # A strong reference would keep a connection alive that is never closed.
    driver_connection.on_mismatch = partial(_on_mismatch, weakref.ref(driver_connection), connection.alias)


def _on_mismatch(reference, alias, found):
    """Return the fingerprint to continue a request with; raise SchemaMismatch."""
    if is_unchecked():
        return found
    # In another thread, because the connection to the object is waiting here.
    usable = found if known.is_known_usable(found) else in_thread(_answer, alias_slug(alias), found)
    driver_connection = reference()
    if usable and driver_connection is not None:
        # The tenant may have moved.
        follow(driver_connection, alias_slug(alias))
        driver_connection.expect = usable
        known.found(driver_connection.database, usable)
    return usable


def _answer(slug, found):
    # The look-up is not used: it is a cache, and its listeners would use the tenant.
    if not found or found == MOVING:
        if directory_is_closed() or not _is_here(slug):
            # An object without a row in D1 is not this package's to migrate.
            return found
    elif (applied := known.migrations_of(found)) is not None:
        # What is known to be refused is refused without a round trip.
        _refuse_unknown(slug, applied)
        _refuse_catching_up(slug)
    return catch_up(slug, found)


def _is_here(slug):
    """Return whether D1 has the tenant, and remember where it is.

    The object may be the one that the tenant has left. Raises TenantGone for a tenant that was deleted, and
    TenantElsewhere.
    """
    row = leases.look(slug)
    if (place := places.noted(slug)) is not None and place.fence > row.fence:
        # D1 was restored, or another thread has read a later row. Only here is the place forgotten, because a
        # thread that needs it in between would send its request to the old object again.
        places.forget(slug)
        row = leases.look(slug)
    if not row.is_registered:
        if lookup.forget(slug) or row.state == State.DELETED:
            raise TenantGone(f"Tenant {slug!r} was deleted.")
        return False
    if conf("JURISDICTION_FIELD") is None and row.jurisdiction != places.default_jurisdiction():
        places.forget(slug)
        configured = places.default_jurisdiction() or places.NONE
        raise TenantElsewhere(slug, row.jurisdiction or places.NONE, configured)
    return True


def _refuse_gone(slug):
    """Raise TenantGone for a tenant that was deleted.

    Its row was just deleted, or the ledger has it as deleted.
    """
    if directory_is_closed():
        return
    if lookup.forget(slug) or _is_deleted(ledger.states(slug).get(slug)):
        raise TenantGone(f"Tenant {slug!r} was deleted.")


def _is_deleted(state):
    return state is not None and state.state == ledger.DELETED


def catch_up(slug, found=""):
    """Migrate a tenant if it lacks migrations; return its schema fingerprint.

    It is migrated once, however many threads and processes need it: threads wait at a lock, and processes for
    the tenant's lease. Migrations that this code does not have stay. `found` is the schema fingerprint that
    the object answered. Raises TenantGone, CodeTooOld, and TenantBehind if DO_BRIDGE["CATCH_UP"] is off, the
    migration failed, or a load or a deletion is not finished.
    """
    with _guard:
        lock = _locks.setdefault(slug, _Lock())
    alias = tenant_alias(slug)
    with lock.lock, unset_context(), unchecked(alias):
        if known.is_known_usable(found):
            # Another thread has done it.
            return found
        while True:
            held = read_object(connections[alias])
            known.learn(held.applied)
            if held.fingerprint == MOVING:
                _wait_for_move(slug, held)
                continue
            _refuse_unknown(slug, held.applied)
            if not known.is_usable(held.applied):
                if not (held.has_tables or conf("CATCH_UP")) and (row := lost_row(slug)) is not None:
                    _refuse_lost(row)
                    continue
                _refuse_catching_up(slug)
                lease = _take(slug, held)
                if lease is not None and (reached := _migrate(lease)) is not None:
                    return reached
                continue
            try:
                return settle_fingerprint(connections[alias], held)
            except DatabaseError as error:
                if not is_mismatch(error):
                    raise


def _wait_for_move(slug, held):
    """Wait for the move of a tenant, or make up for an interrupted one.

    After an interrupted move the tenant is usable where it is. Raises TenantBehind if the move takes longer.
    """
    if (lease := _take(slug, held)) is None:
        return
    if lease.step != Do.KEEP:
        # The frozen tables are not the tenant's.
        _migrate(lease)
        return
    with leases.kept(lease):
        thawed = close_to_older(lease)
    settle(lease, thawed.fingerprint)


def _refuse_unknown(slug, applied):
    if unknown := known.unknown(applied):
        raise CodeTooOld(
            f"The database of tenant {slug!r} has migrations that this code does not have: {named(unknown)}. "
            "DO_BRIDGE['REQUIRE_EXACT_SCHEMA'] is on, so this code can't use it.",
            remedy="Deploy the code that has these migrations. If they were removed for good, run "
            f"`manage.py migrate {unknown[0][0]} --prune --database {tenant_alias(slug)}`.",
        )


def named(migrations):
    """Return the first names of some migrations, pairs of (app label, name), as text."""
    names = ", ".join(f"{app}.{name}" for app, name in migrations[:3])
    return names + (f" and {len(migrations) - 3} more" if len(migrations) > 3 else "")


def _refuse_catching_up(slug):
    """Raise TenantBehind if catch-up is off, or has just failed for this tenant.

    No round trip.
    """
    if not conf("CATCH_UP"):
        raise TenantBehind(
            f"The database of tenant {slug!r} is behind this code, and DO_BRIDGE['CATCH_UP'] is off.",
            remedy=_migrate_command(slug),
        )
    until, reason = _failures.get(slug, (0, ""))
    if time.monotonic() < until:
        raise TenantBehind(
            f"The database of tenant {slug!r} could not be migrated a moment ago: {reason.rstrip('.')}.",
            remedy=_migrate_command(slug),
            reason=_FAILED,
        )


def _migrate_command(slug):
    return f"Run `manage.py migrate --database {tenant_alias(slug)}`."


def _take(slug, held):
    """Return the lease for a migration, or None if it is no longer needed.

    It is not needed if another process has just migrated the tenant.
    """

    def read():
        held = read_tenant(slug)
        if known.is_usable(held.applied) and held.fingerprint != MOVING:
            raise _Done
        return held

    try:
        lease = leases.take(
            slug,
            Operation.MIGRATE,
            read,
            wait=conf("LEASE_SECONDS") / 2,
            waits_for=(Operation.CREATE, Operation.MIGRATE, Operation.MOVE),
            noting=bookmarks.before_migration,
            # A moved tenant can be used before its move has erased the old object.
            while_waiting=read if held.fingerprint == MOVING else None,
            # An empty object is not the one of a tenant that is ready.
            trusts_row=held.has_tables,
        )
    except _Done:
        return None
    except leases.Held as error:
        raise not_ready(slug, error) from error
    if lease.step == Do.GONE:
        # The tenant had its row when this began.
        lookup.forget(slug)
        raise TenantGone(f"Tenant {slug!r} was deleted.")
    if lease.step == Do.TAKEN:
        raise TenantUnclaimed(slug)
    if lease.step == Do.UNFINISHED:
        raise unfinished(slug, lease.row.operation)
    if lease.step == Do.LOST:
        _refuse_lost(lease.row)
        return None
    return lease


def _refuse_lost(row):
    """Record a tenant as lost, and raise TenantLost.

    If the tenant has just been moved, the empty object is the one that it left. The connection is closed
    then, so that the next one leads to the other.
    """
    if not is_elsewhere(row):
        raise record_lost(row)
    connections[tenant_alias(row.slug)].close()


class _Done(Exception):
    """The tenant has the migrations of this code."""


def _migrate(lease):
    """Migrate the tenant under a lease and record the outcome.

    Returns the schema fingerprint, or None if another operation has taken the tenant over.
    """

    slug, start = lease.slug, time.monotonic()
    try:
        with leases.kept(lease):
            _, reached = ready(lease)
    except Exception as error:
        if is_fenced(error):
            _refuse_gone(slug)
            return None
        reason = f"{type(error).__name__}: {error}"
        _failures[slug] = (time.monotonic() + PAUSE_AFTER_FAILURE, reason)
        logger.exception("Tenant %s could not be migrated on first use.", slug)
        fail(lease, error)
        raise TenantBehind(
            f"The database of tenant {slug!r} is behind this code and could not be migrated: "
            f"{reason.rstrip('.')}.",
            remedy=_migrate_command(slug),
            reason=_FAILED,
        ) from error
    _failures.pop(slug, None)
    try:
        settle(lease, reached)
    except leases.LeaseLost:
        _refuse_gone(slug)
        return None
    logger.info("Tenant %s was migrated on first use in %.2f s.", slug, time.monotonic() - start)
    return reached
