"""Refuse the writes of an older lease.

Each batch that writes carries its lease's fencing token. A tenant's object keeps the highest token that it
has received, with the lease's owner, in its table of metadata. Each batch begins with a statement that
fails if the object's token is higher, and stores its own otherwise. In D1 the lease of the migrations is in
the database itself, so that a guard only compares.
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
#: The key under which an object that may have been erased keeps when it was filled again, in seconds since
#: 1970. It refuses repeated writes for a day then, because they may have run before.
REMADE = "remade"
#: The kind of the error that a write gets after a newer lease has taken over.
FENCED = "fenced"
_NUMBER = f"CAST({META_TABLE}.value AS INTEGER)"
_RAISE = (
    f"INSERT INTO {META_TABLE} (key, value) VALUES ('{KEY}', %s) ON CONFLICT (key) DO UPDATE SET value = "  # noqa: S608
    f"CASE WHEN {_NUMBER} > CAST(excluded.value AS INTEGER) THEN {failing(FENCED, f'{META_TABLE}.value')} "
    "ELSE excluded.value END"
)
_REMADE = f"INSERT OR REPLACE INTO {META_TABLE} (key, value) VALUES ('{REMADE}', unixepoch())"  # noqa: S608
_CHECK = f"SELECT {failing(FENCED, 'value')} FROM {META_TABLE} WHERE key = '{KEY}' AND {_NUMBER} > %s"  # noqa: S608

_UNLESS_NEW = f"SELECT {failing(LEFT, 'name')} FROM sqlite_master WHERE name = '{META_TABLE}'"  # noqa: S608

_TABLES = f"SELECT name FROM sqlite_master WHERE {NOT_INTERNAL} LIMIT 1"  # noqa: S608
_KNOWN = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, 'django_migrations')"
_META = f"SELECT key, value FROM {META_TABLE} WHERE key IN ('schema', '{KEY}')"  # noqa: S608
_APPLIED = "SELECT app, name FROM django_migrations"

_guards: ContextVar[dict] = ContextVar("do_bridge_guards", default={})  # noqa: B039 - never changed in place


def is_fenced(error):
    """Return whether an error means that a newer lease has written to the object."""
    return told(error, FENCED) is not None or getattr(error.__cause__, "kind", None) == FENCED


def read_object(connection):
    """Return what an object holds, as `states.Held`.

    One round trip, or three if the object lacks a table.
    """
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
    """Return the statements that fail if the object has a higher token.

    `names` are the object's tables. This is a guard of `empty()`, which reads the names again if the object
    has received its first token since.
    """
    return [(_CHECK, (fence,))] if META_TABLE in names else [(_UNLESS_NEW, None)]


def raise_fence(connection, lease):
    """Make the object refuse older leases before anything else is written.

    One round trip. From then on, what the object holds counts as this lease's.
    """
    run_batch(connection, _guard(lease))


def _guard(lease):
    remade = [(_REMADE, None)] if lease.may_follow_another_life else []
    return [(CREATE_META, None), (_RAISE, (f"{lease.fence} {lease.owner}",)), *remade]


def fenced(alias, lease):
    """Return a block in which this thread's writes to a tenant are sent under `lease`.

    Without a lease the writes are not fenced.
    """
    return contextlib.nullcontext() if lease is None else guarded_by(alias, _guard(lease))


@contextlib.contextmanager
def guarded_by(alias, guard):
    """Begin each write to `alias` in this block with the statements `guard`.

    It applies to this thread's connection. The statements fail with the kind FENCED.
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
    """Make a driver connection send its writes under `lease`; return the connection."""
    _install(connection, _guard(lease))
    return connection


@contextlib.contextmanager
def under(connection, lease):
    """Send the writes of this block on one Django connection under `lease`."""
    connection.ensure_connection()
    before = connection.connection.transport
    fence(connection.connection, lease)
    try:
        yield
    finally:
        connection.connection.transport = before


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
    """A transport that begins each batch and transaction that writes with the guard.

    The guard is part of the same request.
    """

    def __init__(self, inner, guard):
        super().__init__(inner)
        self.guard = [prepare(sql, params) for sql, params in guard]

    def batch(self, database, statements, deadline, **options):
        if all(statement.shape.reads_only for statement in statements):
            return self.inner.batch(database, statements, deadline, **options)

        def send(steps):
            return self.inner.batch(database, steps, deadline, **options)

        if database.startswith("d1:") and any(map(is_several, (statement.sql for statement in statements))):
            # D1 returns the rows of such a text only if it is alone.
            _behind(self.guard, send, [])
            return send(statements)
        return _behind(self.guard, send, statements)

    def restore(self, database, bookmark, deadline, *, first=()):
        def send(steps):
            return self.inner.restore(database, bookmark, deadline, first=steps)

        return _guarded(self.guard, send, first)

    def transaction(self, database, lease, **more):
        return _FencedTransaction(self.inner.transaction(database, lease, **more), self.guard)


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
    """Send the steps after the guard, and return the steps' answers.

    An error's `step` does not count the guard's statements.
    """
    return _guarded(guard, send, steps)[len(guard) :]


def _guarded(guard, send, steps):
    """Send the steps after the guard, and return what `send` returns."""
    try:
        return send([*guard, *steps])
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
