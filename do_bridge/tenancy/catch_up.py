"""Brings a tenant that is behind the code to head on first use, and stops code that is behind a tenant."""

import contextvars
import logging
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from weakref import WeakValueDictionary

from django.db import OperationalError, connections
from django.db.backends.signals import connection_created

from . import ledger
from .conf import conf
from .contenttypes import directory_is_closed
from .context import current, unset_context
from .copies import run_batch
from .directory import is_registered, lookup
from .executor import read_object
from .fingerprint import code_fingerprint, known_migrations, of, write_statements
from .slugs import alias_slug, tenant_alias

logger = logging.getLogger("do_bridge.migrations")

#: Seconds for which a process does not try again what has just failed.
PAUSE_AFTER_FAILURE = 30


class SchemaMismatch(OperationalError):
    """A tenant's object does not hold the schema that this code expects; nothing was run."""


class TenantBehind(SchemaMismatch):
    """The tenant has not been migrated to where this code is."""


class CodeTooOld(SchemaMismatch):
    """The tenant has migrations that this code does not have."""


class TenantUnclaimed(SchemaMismatch):
    """The tenant's object holds tables that were not made for the tenant's row; nothing was run."""

    def __init__(self, slug):
        super().__init__(
            f"The database of tenant {slug!r} has tables that were not made for this tenant. They may be a "
            f"former tenant's. Take them over with `manage.py create_tenant --adopt {slug}`, or delete them "
            f"with `manage.py tenant_delete {slug}`."
        )


class TenantGone(SchemaMismatch):
    """The tenant was deleted, by another process maybe; nothing was run, and nothing is made anew."""


_unchecked: contextvars.ContextVar[bool] = contextvars.ContextVar("do_bridge_unchecked", default=False)
_guard = threading.Lock()
_locks = WeakValueDictionary()
_failures = {}


class _Lock:
    """A lock that can be referenced weakly, so that only those in use are kept."""

    def __init__(self):
        self.lock = threading.Lock()


@contextmanager
def unchecked(alias=None):
    """Take tenants' objects as they are inside this block: nobody catches up, and no schema is refused.

    For migrations and for whoever inspects. With `alias` its open connection expects nothing meanwhile.
    """
    token = _unchecked.set(True)
    _expect(alias, None)
    try:
        yield
    finally:
        _unchecked.reset(token)
        _expect(alias, code_fingerprint)


def _expect(alias, fingerprint):
    """Change what this thread's open connection to a tenant expects."""
    connection = getattr(connections._connections, alias, None) if alias_slug(alias) else None
    if connection is not None and connection.connection is not None:
        connection.connection.expect = fingerprint() if fingerprint else None


def watch_connections():
    """Let every connection to a tenant expect the schema of this code."""
    connection_created.connect(_expect_schema, dispatch_uid="do_bridge.expect_schema")


def _expect_schema(sender, connection, **kwargs):
    driver_connection = connection.connection
    if alias_slug(connection.alias) is None or not hasattr(driver_connection, "on_mismatch"):
        return
    driver_connection.expect = None if _is_unchecked() else code_fingerprint()
    driver_connection.on_mismatch = partial(_on_mismatch, connection.alias)


def _is_unchecked():
    return _unchecked.get() or current().is_migration


def _on_mismatch(alias, found):
    """Return the fingerprint with which a request may go on; raises SchemaMismatch."""
    if _is_unchecked():
        return found
    # In a thread of its own: its connection to the object must not be the one that waits here.
    return _in_thread(_answer, alias_slug(alias), found)


def _answer(slug, found):
    # Not registered by the look-up's word: that is a memory, and whoever listens there would use the tenant.
    if not found and (directory_is_closed() or not is_registered(slug)):
        _refuse_gone(slug)
        # An object of which the directory knows nothing is whatever its user makes of it.
        return found
    catch_up(slug)
    return code_fingerprint()


def _refuse_gone(slug):
    """Raise TenantGone for a tenant without a row that had one a moment ago, or that the ledger saw go."""
    if directory_is_closed():
        return
    if lookup.forget(slug) or _is_deleted(ledger.states(slug).get(slug)):
        raise TenantGone(f"There is no tenant {slug!r} any more: it was deleted.")


def _is_deleted(state):
    return state is not None and state.state == ledger.DELETED


def catch_up(slug):
    """Migrate tenant `slug` to head if it is behind; once, however many threads and processes ask.

    Threads wait for each other at a lock; among processes the object itself is the lock, since a migration's
    transaction begins only on the schema that was found. Raises CodeTooOld, TenantGone, or TenantBehind where
    DO_BRIDGE["CATCH_UP"] is off, the migration failed, or a load or a deletion is not finished.
    """
    with _guard:
        lock = _locks.setdefault(slug, _Lock())
    alias = tenant_alias(slug)
    with lock.lock, unset_context(), unchecked(alias):
        state = read_object(connections[alias])
        if state.fingerprint == code_fingerprint():
            return
        _refuse_unknown(slug, state.applied)
        if of(state.applied) == code_fingerprint():
            run_batch(connections[alias], write_statements(code_fingerprint()))
            return
        _refuse_waiting(slug, has_schema=bool(state.applied))
        _migrate(slug, is_empty=not state.applied)


def _refuse_unknown(slug, applied):
    if unknown := sorted(applied - known_migrations()):
        names = ", ".join(f"{app}.{name}" for app, name in unknown[:3])
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise CodeTooOld(
            f"The database of tenant {slug!r} has migrations that this code does not have ({names}{more}): "
            "the code is older than the schema. Run the newer code, and restart processes that still run "
            "this one. If the migrations were deleted on purpose: "
            f"`migrate {unknown[0][0]} --prune --database {tenant_alias(slug)}`."
        )


def _refuse_waiting(slug, has_schema):
    if not conf("CATCH_UP"):
        raise TenantBehind(
            f"The database of tenant {slug!r} is behind this code, and DO_BRIDGE['CATCH_UP'] is off. "
            f"Run `migrate --database tenant --tenant {slug}`."
        )
    if _is_deleted(state := ledger.states(slug).get(slug)) and not is_registered(slug):
        # It had its row when this began.
        lookup.forget(slug)
        raise TenantGone(f"There is no tenant {slug!r} any more: it was deleted.")
    if has_schema and not ledger.is_claimed(state) and is_registered(slug):
        raise TenantUnclaimed(slug)
    if ledger.is_held(state):
        raise TenantBehind(f"The database of tenant {slug!r} is not ready: {state.doing} is not finished.")
    until, reason = _failures.get(slug, (0, ""))
    if time.monotonic() < until:
        raise TenantBehind(f"The database of tenant {slug!r} could not be migrated just now: {reason}")


def _migrate(slug, is_empty):
    from .bring import migrate_object

    start = time.monotonic()
    ledger.begin(slug, "catch up on first use")
    try:
        reached = migrate_object(slug, is_empty=is_empty)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        _failures[slug] = (time.monotonic() + PAUSE_AFTER_FAILURE, reason)
        logger.exception("Tenant %s could not be migrated on first use.", slug)
        ledger.failed(slug, error)
        raise TenantBehind(
            f"The database of tenant {slug!r} is behind this code and could not be migrated: {reason}"
        ) from error
    _failures.pop(slug, None)
    if not ledger.reached_unless_deleted(slug, reached):
        if not is_registered(slug):
            _undo(slug)
        # Registered anew, by hand: the note was about a former one.
        ledger.reached(slug, reached)
    logger.info("Tenant %s was migrated on first use in %.2f s.", slug, time.monotonic() - start)


def _undo(slug):
    """Empty the object of a tenant that was deleted while this process migrated it; raises TenantGone."""
    from .load import empty_left_over

    # A note was written after the deletion: a new tenant of this slug, whose row is still to come.
    empty_left_over(slug)
    lookup.forget(slug)
    raise TenantGone(f"There is no tenant {slug!r} any more: it was deleted.")


def _in_thread(function, *arguments):
    """Run a function in a thread of its own, with connections of its own, and wait for it."""
    outcome = Future()

    def run():
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    return outcome.result()
