"""Lets an object refuse what an older lease sends: each batch carries its lease's number, the fence.

The object keeps the highest fence that it has seen, with the lease's owner, in its table of its own facts. A
batch of a lease begins with one statement that fails where the object's fence is higher, and sets it else.
"""

import contextlib
from contextvars import ContextVar
from functools import partial

from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from do_bridge import driver
from do_bridge.backends.remote_sqlite.emptying import LEFT
from do_bridge.backends.remote_sqlite.refusals import failing, told
from do_bridge.driver.sql import prepare
from do_bridge.driver.transport import RemoteTransaction, Transport
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import CREATE_META, META_TABLE

from .states import Held

#: Under this key an object keeps "fence owner" of the lease that wrote last.
KEY = "fence"
_KIND = "fenced"
_NUMBER = f"CAST({META_TABLE}.value AS INTEGER)"
_RAISE = (
    f"INSERT INTO {META_TABLE} (key, value) VALUES ('{KEY}', %s) ON CONFLICT (key) DO UPDATE SET value = "  # noqa: S608
    f"CASE WHEN {_NUMBER} > CAST(excluded.value AS INTEGER) THEN {failing(_KIND, f'{META_TABLE}.value')} "
    "ELSE excluded.value END"
)
_CHECK = f"SELECT {failing(_KIND, 'value')} FROM {META_TABLE} WHERE key = '{KEY}' AND {_NUMBER} > %s"  # noqa: S608

_UNLESS_NEW = f"SELECT {failing(LEFT, 'name')} FROM sqlite_master WHERE name = '{META_TABLE}'"  # noqa: S608

# The runtime's, SQLite's and wrangler's own, and ours.
INTERNAL = ("sqlite_", "_cf_", "__miniflare", "d1_migrations", "_do_bridge_")
NOT_INTERNAL = " AND ".join(f"name NOT GLOB '{start.replace('_', '[_]')}*'" for start in INTERNAL)
_TABLES = f"SELECT name FROM sqlite_master WHERE {NOT_INTERNAL} LIMIT 1"  # noqa: S608
_KNOWN = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, 'django_migrations')"
_META = f"SELECT key, value FROM {META_TABLE} WHERE key IN ('schema', '{KEY}')"  # noqa: S608
_APPLIED = "SELECT app, name FROM django_migrations"

_leases: ContextVar[dict] = ContextVar("do_bridge_leases", default={})  # noqa: B039 - never changed in place


def is_fenced(error):
    """Say whether a database error means that a newer lease has written to the object."""
    return told(error, _KIND) is not None or getattr(error.__cause__, "kind", None) == _KIND


def read_object(connection):
    """Return what an object holds as `lifecycle.Held`; one trip, and two more if it lacks a table."""
    try:
        tables, meta, applied = (
            result.rows
            for result in run_batch(connection, [(_TABLES, None), (_META, None), (_APPLIED, None)])
        )
    except DatabaseError as error:
        if "no such table" not in str(error):
            raise
        (known,) = run_batch(connection, [(_KNOWN, (META_TABLE,))])
        names = {name for (name,) in known.rows}
        reads = [_TABLES]
        reads += [_META] if META_TABLE in names else []
        reads += [_APPLIED] if "django_migrations" in names else []
        tables, *rest = (result.rows for result in run_batch(connection, [(sql, None) for sql in reads]))
        meta = rest.pop(0) if META_TABLE in names else []
        applied = rest.pop(0) if rest else []
    facts = dict(meta)
    number, _, owner = facts.get(KEY, "0").partition(" ")
    return Held(
        has_tables=bool(tables),
        fingerprint=facts.get("schema", ""),
        applied=frozenset((app, name) for app, name in applied),
        fence=int(number),
        owner=owner,
    )


def refuse_older(fence, names):
    """Return the statements that fail where an object with tables of these `names` has a higher fence.

    A guard of `emptying.empty()`, which lists the names again where the object has got its first fence since.
    """
    return [(_CHECK, (fence,))] if META_TABLE in names else [(_UNLESS_NEW, None)]


def raise_fence(connection, lease):
    """Let the object refuse what leases before this one send, though nothing is written yet; one trip.

    What the object holds counts as this lease's from now on.
    """
    run_batch(connection, _guard(lease))


def _guard(lease):
    return [(CREATE_META, None), (_RAISE, (f"{lease.fence} {lease.owner}",))]


@contextlib.contextmanager
def fenced(alias, lease):
    """Let this thread's connection to `alias` send its writes under `lease` in this block; None: as ever."""
    if lease is None:
        yield
        return
    token = _leases.set({**_leases.get(), alias: lease})
    connection = connections[alias]
    connection.ensure_connection()
    _install(connection.connection, lease)
    try:
        yield
    finally:
        _leases.reset(token)
        if connection.connection is not None:
            _install(connection.connection, _leases.get().get(alias))


def fence(connection, lease):
    """Let a driver connection of the caller's own send its writes under `lease`; returns the connection."""
    _install(connection, lease)
    return connection


def watch_connections():
    """Fence a connection, too, that is opened anew inside a block of `fenced`."""
    connection_created.connect(_fence_new, dispatch_uid="do_bridge.fence_new")


def _fence_new(sender, connection, **kwargs):
    if (lease := _leases.get().get(connection.alias)) is not None:
        _install(connection.connection, lease)


def _install(connection, lease):
    """Fence a driver connection by a lease in place of the one before; None: by none."""
    transport = connection.transport
    inner = transport.inner if isinstance(transport, _FencedTransport) else transport
    connection.transport = inner if lease is None else _FencedTransport(inner, lease)


class _FencedTransport(Transport):
    """Begins each batch and transaction that writes with the lease's guard, in the same request."""

    def __init__(self, inner, lease):
        self.inner = inner
        self.guard = [prepare(sql, params) for sql, params in _guard(lease)]

    def batch(self, database, statements, deadline, *, expect=None, key=None):
        if all(statement.shape.reads_only for statement in statements):
            return self.inner.batch(database, statements, deadline, expect=expect, key=key)
        send = partial(self.inner.batch, database, deadline=deadline, expect=expect, key=key)
        return _behind(self.guard, lambda steps: send(statements=steps), statements)

    def transaction(self, database, lease, *, expect=None):
        return _FencedTransaction(self.inner.transaction(database, lease, expect=expect), self.guard)

    def supports_transactions(self, database):
        return self.inner.supports_transactions(database)

    def size(self, database, deadline):
        return self.inner.size(database, deadline)

    def erase(self, database, deadline):
        return self.inner.erase(database, deadline)

    def max_request(self, deadline):
        return self.inner.max_request(deadline)

    def close(self):
        """The transport is the process's, and stays open."""


class _FencedTransaction(RemoteTransaction):
    """One transaction, whose first request brings the guard along."""

    def __init__(self, inner, guard):
        self.inner = inner
        self.guard = guard

    def run(self, steps, deadline):
        try:
            answers = _behind(self.guard, lambda all_steps: self.inner.run(all_steps, deadline), steps)
        except driver.Error as error:
            # A transaction that goes on after it has passed the guard.
            if error.effect == "statement":
                self.guard = []
            raise
        self.guard = []
        return answers

    def abandon(self):
        self.inner.abandon()


def _behind(guard, send, steps):
    """Send steps behind the guard; return their answers, and count an error's step without it."""
    try:
        return send([*guard, *steps])[len(guard) :]
    except driver.Error as error:
        if (higher := told(error, _KIND)) is not None:
            raise driver.OperationalError(
                f"Somebody else has taken over this tenant, by the lease {higher.partition(' ')[0]}. "
                "Nothing of this request was done. Look at the tenant before you run the command again.",
                kind=_KIND,
                effect=error.effect,
                step=0,
            ) from error
        if error.step is not None:
            error.step = max(0, error.step - len(guard))
        raise
