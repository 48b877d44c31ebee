"""Probes of an object's transactions, schema fingerprint and idempotency keys.

The transactions are interactive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import OBJECT, Group, Probe, Wrong, expect
from do_bridge.driver import Error

PROBES: list[Probe] = []
_group = Group("Transactions of an object", PROBES)

_STOP = "Do not rely on atomic() for tenants, and report this."
_LEASE: Final = 0.3


@contextmanager
def _table(database: Database) -> Iterator[str]:
    """Make a table that other connections see, and drop it again."""
    name = database.table("rows")
    database.batch(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, a TEXT UNIQUE)")
    yield name
    # After a failure the clean-up drops it, when no transaction of the probe is open any more.
    database.batch(f"DROP TABLE {name}")


def _stored(database: Database, table: str) -> str | None:
    found = database.value(f"SELECT group_concat(a) AS r FROM (SELECT a FROM {table} ORDER BY id)")
    return None if found is None else str(found)


@_group.probe(
    "commit-and-rollback",
    on=OBJECT,
    fact="A transaction sees its own rows. After commit they stay, after rollback they are gone.",
    why="This is what atomic() promises.",
    fix=_STOP,
)
def commit_and_rollback(database: Database) -> None:
    with _table(database) as table:
        other = database.another()
        other.connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('kept')")
        expect(_stored(other, table), "kept", "the row inside the transaction")
        other.connection.commit()
        other.connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('undone')")
        other.connection.rollback()
        expect(_stored(database, table), "kept", "the rows after commit and rollback")


@_group.probe(
    "savepoints",
    on=OBJECT,
    fact="A savepoint can be rolled back alone, and an inner one is released into the outer one.",
    why="A nested atomic() is a savepoint.",
    fix=_STOP,
)
def savepoints(database: Database) -> None:
    with _table(database) as table:
        other = database.another()
        connection = other.connection
        connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('one')")
        connection.savepoint("outer")
        other.batch(f"INSERT INTO {table} (a) VALUES ('two')")
        connection.savepoint("inner")
        other.batch(f"INSERT INTO {table} (a) VALUES ('three')")
        connection.rollback_to("inner")
        connection.release("outer")
        expect(_stored(other, table), "one,two", "the rows inside the transaction")
        connection.commit()
        expect(_stored(database, table), "one,two", "the rows after the commit")


@_group.probe(
    "failed-statement",
    on=OBJECT,
    fact="A failed statement is undone alone, and the transaction continues.",
    why="get_or_create() and forms catch an IntegrityError inside a block.",
    fix=_STOP,
)
def failed_statement(database: Database) -> None:
    with _table(database) as table:
        other = database.another()
        other.connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('one')")
        error = other.refusal(f"INSERT INTO {table} (a) VALUES ('two'), ('one')")
        expect(
            (error.sqlite_code, error.effect), ("SQLITE_CONSTRAINT_UNIQUE", "statement"), "code and effect"
        )
        other.batch(f"INSERT INTO {table} (a) VALUES ('three')")
        other.connection.commit()
        expect(_stored(database, table), "one,three", "the rows after the commit")


@_group.probe(
    "isolation",
    on=OBJECT,
    fact="While a transaction is open, other clients wait for its end. They see all of it or nothing.",
    why="This makes transactions serialisable.",
    fix=_STOP,
)
def isolation(database: Database) -> None:
    with _table(database) as table:
        writer, reader = database.another(), database.another()
        seen: list[str | None | Exception] = []

        def read() -> None:
            try:
                seen.append(_stored(reader, table))
            except (Error, Wrong) as error:
                seen.append(error)

        thread = threading.Thread(target=read)
        writer.connection.begin()
        writer.batch(f"INSERT INTO {table} (a) VALUES ('one')")
        thread.start()
        try:
            time.sleep(0.05)  # Later it would wait less; what it sees is the same.
            writer.batch(f"INSERT INTO {table} (a) VALUES ('two')")
            writer.connection.commit()
        finally:
            writer.connection.rollback()
            thread.join()
        expect(seen, ["one,two"], "what another client saw")


@_group.probe(
    "lease",
    on=OBJECT,
    fact="A transaction that is open longer than its lease is rolled back, and its next statement fails.",
    why="Otherwise a client that hangs would hold a tenant forever.",
    fix=_STOP,
)
def lease(database: Database) -> None:
    with _table(database) as table:
        other = database.another(lease=_LEASE)
        other.connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('late')")
        time.sleep(_LEASE * 2)
        error = other.refusal(f"INSERT INTO {table} (a) VALUES ('later')")
        expect((error.kind, error.effect), ("lease_expired", "ended"), "kind and effect of the refusal")
        expect(_stored(database, table), None, "the rows after the lease")


@_group.probe(
    "lost-client",
    on=OBJECT,
    fact="A transaction whose client disappears is rolled back.",
    why="Otherwise half of a block would stay after a crash of Django.",
    fix=_STOP,
)
def lost_client(database: Database) -> None:
    with _table(database) as table:
        other = database.apart()
        other.connection.begin()
        other.batch(f"INSERT INTO {table} (a) VALUES ('half')")
        other.sever()
        expect(_stored(database, table), None, "the rows after the client was lost")


@_group.probe(
    "schema-expected",
    on=OBJECT,
    fact="A statement that expects another schema than the object's is refused, and nothing runs.",
    why="Otherwise code of one version would write into tables of another.",
    fix="Run `manage.py relay deploy`.",
)
def schema_expected(database: Database) -> None:
    with _table(database) as table:
        other = database.another(expect="d0c7")
        error = other.refusal(f"INSERT INTO {table} (a) VALUES ('unexpected')")
        expect((error.kind, error.found), ("schema_mismatch", ""), "kind and fingerprint of the refusal")
        expect(_stored(database, table), None, "the rows afterwards")


@_group.probe(
    "write-once",
    on=OBJECT,
    fact="A write that is sent twice under one idempotency key runs once, and both answers are the same.",
    why="The driver sends a write again if its answer was lost.",
    fix="Set OPTIONS['write_keys'] to False for tenants, and report this.",
)
def write_once(database: Database) -> None:
    with _table(database) as table:
        sql, key = f"INSERT INTO {table} (a) VALUES ('x' || random()) RETURNING a", database.new_key()
        first, second = database.keyed(sql, key), database.keyed(sql, key)
        expect(second.rows, first.rows, "the answer of the second time")
        expect(_stored(database, table), first.rows[0][0] if first.rows else "a row", "the rows afterwards")


@_group.probe(
    "write-outcome",
    on=OBJECT,
    fact="An object records under each key whether the write was done; a write that was given up never "
    "runs later.",
    why="With this record a lost commit is distinguished from one that was carried out.",
    fix="Set OPTIONS['write_keys'] to False for tenants, and report this.",
)
def write_outcome(database: Database) -> None:
    with _table(database) as table:
        done, never = database.new_key(), database.new_key()
        database.keyed(f"INSERT INTO {table} (a) VALUES ('done')", done)
        expect(database.outcome(done), "done", "the outcome of a write that ran")
        expect(database.outcome(never), "none", "the outcome of a write that never came")
        try:
            database.keyed(f"INSERT INTO {table} (a) VALUES ('late')", never)
        except Error as error:
            expect(error.kind, "stale_key", "the kind of the refusal")
        else:
            raise Wrong("a write ran after it had been given up")
        expect(_stored(database, table), "done", "the rows afterwards")
