"""Refuse what an older lease sends: each batch that writes carries its lease's fencing token.

A tenant's object keeps the highest token that it has seen, with the lease's owner, in its table of its own
facts. Each batch begins with a statement that fails if the object's token is higher, and stores its own
otherwise. In D1 the lease of the migrations stands in the database itself, so that a guard only compares.
"""

import contextlib
from contextvars import ContextVar

from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from do_bridge import driver
from do_bridge.backends.remote_sqlite.emptying import LEFT
from do_bridge.backends.remote_sqlite.refusals import failing, is_missing_table, told
from do_bridge.driver.internal import NOT_INTERNAL
from do_bridge.driver.sql import is_several, prepare
from do_bridge.driver.transport import RemoteTransaction, WrappedTransport
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import CREATE_META, META_TABLE

from .states import Held

#: The key under which an object keeps "<fencing token> <owner>" of the lease that wrote last.
KEY = "fence"
#: The kind of error after which a newer lease has taken over.
FENCED = "fenced"
_NUMBER = f"CAST({META_TABLE}.value AS INTEGER)"
_RAISE = (
    f"INSERT INTO {META_TABLE} (key, value) VALUES ('{KEY}', %s) ON CONFLICT (key) DO UPDATE SET value = "  # noqa: S608
    f"CASE WHEN {_NUMBER} > CAST(excluded.value AS INTEGER) THEN {failing(FENCED, f'{META_TABLE}.value')} "
    "ELSE excluded.value END"
)
_CHECK = f"SELECT {failing(FENCED, 'value')} FROM {META_TABLE} WHERE key = '{KEY}' AND {_NUMBER} > %s"  # noqa: S608

_UNLESS_NEW = f"SELECT {failing(LEFT, 'name')} FROM sqlite_master WHERE name = '{META_TABLE}'"  # noqa: S608

_TABLES = f"SELECT name FROM sqlite_master WHERE {NOT_INTERNAL} LIMIT 1"  # noqa: S608
_KNOWN = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, 'django_migrations')"
_META = f"SELECT key, value FROM {META_TABLE} WHERE key IN ('schema', '{KEY}')"  # noqa: S608
_APPLIED = "SELECT app, name FROM django_migrations"

_guards: ContextVar[dict] = ContextVar("do_bridge_guards", default={})  # noqa: B039 - never changed in place


def is_fenced(error):
    """Return whether a database error means that a newer lease has written to the object."""
    return told(error, FENCED) is not None or getattr(error.__cause__, "kind", None) == FENCED


def read_object(connection):
    """Return what an object holds, as `states.Held`; one round trip, and two more if it lacks a table."""
    try:
        tables, meta, applied = (
            result.rows
            for result in run_batch(connection, [(_TABLES, None), (_META, None), (_APPLIED, None)])
        )
    except DatabaseError as error:
        if not is_missing_table(error):
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
    """Return the statements that fail if an object with tables of these `names` has a higher token.

    This is a guard of `empty()`, which reads the names again if the object has got its first token since.
    """
    return [(_CHECK, (fence,))] if META_TABLE in names else [(_UNLESS_NEW, None)]


def raise_fence(connection, lease):
    """Let the object refuse older leases before anything else is written; one round trip.

    What the object holds counts as this lease's from now on.
    """
    run_batch(connection, _guard(lease))


def _guard(lease):
    return [(CREATE_META, None), (_RAISE, (f"{lease.fence} {lease.owner}",))]


def fenced(alias, lease):
    """Return a block in which this thread's connection to a tenant sends its writes under `lease`, if any."""
    return contextlib.nullcontext() if lease is None else guarded_by(alias, _guard(lease))


@contextlib.contextmanager
def guarded_by(alias, guard):
    """Begin each write of this thread's connection to `alias` in this block with the statements `guard`.

    They fail with the kind FENCED.
    """
    token = _guards.set({**_guards.get(), alias: guard})
    connection = connections[alias]
    connection.ensure_connection()
    _install(connection.connection, guard)
    try:
        yield
    finally:
        _guards.reset(token)
        if connection.connection is not None:
            _install(connection.connection, _guards.get().get(alias))


def fence(connection, lease):
    """Let a driver connection of the caller's own send its writes under `lease`; return the connection."""
    _install(connection, _guard(lease))
    return connection


def watch_connections():
    """Guard a connection, too, that is reopened inside a block of `guarded_by`."""
    connection_created.connect(_guard_new, dispatch_uid="do_bridge.guard_new")


def _guard_new(sender, connection, **kwargs):
    if (guard := _guards.get().get(connection.alias)) is not None:
        _install(connection.connection, guard)


def _install(connection, guard):
    """Put a guard on a driver connection in place of the one before; None removes it."""
    transport = connection.transport
    inner = transport.inner if isinstance(transport, _FencedTransport) else transport
    connection.transport = inner if guard is None else _FencedTransport(inner, guard)


class _FencedTransport(WrappedTransport):
    """Begin each batch and transaction that writes with the guard, in the same request."""

    def __init__(self, inner, guard):
        super().__init__(inner)
        self.guard = [prepare(sql, params) for sql, params in guard]

    def batch(self, database, statements, deadline, *, expect=None, key=None):
        if all(statement.shape.reads_only for statement in statements):
            return self.inner.batch(database, statements, deadline, expect=expect, key=key)

        def send(steps):
            return self.inner.batch(database, steps, deadline, expect=expect, key=key)

        if database.startswith("d1:") and any(map(is_several, (statement.sql for statement in statements))):
            # D1 returns the rows of such a text only if it is alone.
            _behind(self.guard, send, [])
            return send(statements)
        return _behind(self.guard, send, statements)

    def transaction(self, database, lease, *, expect=None):
        return _FencedTransaction(self.inner.transaction(database, lease, expect=expect), self.guard)


class _FencedTransaction(RemoteTransaction):
    """One transaction, whose first request begins with the guard."""

    def __init__(self, inner, guard):
        self.inner = inner
        self.guard = guard

    def run(self, steps, deadline):
        try:
            answers = _behind(self.guard, lambda all_steps: self.inner.run(all_steps, deadline), steps)
        except driver.Error as error:
            # The transaction has passed the guard and continues.
            if error.effect == "statement":
                self.guard = []
            raise
        self.guard = []
        return answers

    def abandon(self):
        self.inner.abandon()


def _behind(guard, send, steps):
    """Send steps after the guard, and return their answers; an error's step does not count the guard."""
    try:
        return send([*guard, *steps])[len(guard) :]
    except driver.Error as error:
        if (higher := told(error, FENCED)) is not None:
            raise driver.OperationalError(
                "Another operation has taken over this database (its fencing token is "
                f"{higher.partition(' ')[0]}). This request changed nothing. Check the database, then run "
                "the command again if you still need it.",
                kind=FENCED,
                effect=error.effect,
                step=0,
            ) from error
        if error.step is not None:
            error.step = max(0, error.step - len(guard))
        raise
