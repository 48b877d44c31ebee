"""Probes of batches and errors.

They check atomicity, counts, answers carried in an error, codes and texts.
"""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Cut, Database
from do_bridge.doctor.probe import EVERY, Group, Measured, Probe, Wrong, expect
from do_bridge.driver import Error

PROBES: list[Probe] = []
_group = Group("Batches and errors", PROBES)

_REPORT = "Report this with the output of `manage.py relay doctor --json`."
_STOP = "Stop writing to this database, and report this with the output of `manage.py relay doctor --json`."

#: Sizes of a text in an error message, in characters; the first must come back whole.
_SIZES: Final = (1_000, 10_000, 100_000, 500_000, 1_000_000, 1_900_000)


@_group.probe(
    "batch-atomic",
    on=EVERY,
    fact="A batch whose last statement fails leaves nothing, not even the table that it created.",
    why="Migrations, flush, bulk operations and `do_bridge.batch()` rely on all or nothing.",
    fix=_STOP,
)
def batch_atomic(database: Database) -> Measured:
    table = database.table("atomic")
    error = database.refusal(
        f"CREATE TABLE {table} (a INTEGER NOT NULL)",
        f"INSERT INTO {table} VALUES (1)",
        f"INSERT INTO {table} VALUES (NULL)",
    )
    expect(error.sqlite_code, "SQLITE_CONSTRAINT_NOTNULL", "the code of the failure")
    left = database.value("SELECT count(*) AS n FROM sqlite_master WHERE name = %s", table)
    if left != 0:
        raise Wrong("the batch was not undone: its table exists")
    return {"batches": "atomic"}


@_group.probe(
    "batch-order",
    on=EVERY,
    fact="The statements of a batch run in order, and each sees what the earlier ones wrote.",
    why="Bulk operations and migrations rely on the order.",
    fix=_STOP,
)
def batch_order(database: Database) -> None:
    table = database.table("rows")
    result = database.batch(
        f"CREATE TABLE {table} (a INTEGER)",
        f"INSERT INTO {table} VALUES (1)",
        f"SELECT sum(a) AS s FROM {table}",
        f"UPDATE {table} SET a = a + 1",
        f"SELECT sum(a) AS s FROM {table}",
        f"DROP TABLE {table}",
    )
    expect([result[2].rows, result[4].rows], [[(1,)], [(2,)]], "the sums before and after the update")


@_group.probe(
    "changes",
    on=EVERY,
    fact="Each statement of a batch has its own row count and last key, without the rows of triggers.",
    why="save() chooses between UPDATE and INSERT by the count; create() reads the key.",
    fix=_STOP,
)
def changes(database: Database) -> None:
    table, log = database.table("rows"), database.table("log")
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)",
        f"CREATE TABLE {log} (n INTEGER)",
        f"CREATE TRIGGER {table}_t AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO {log} VALUES (1); INSERT INTO {log} VALUES (2); END",
        f"INSERT INTO {table} (a) VALUES ('x'), ('y'), ('z')",
        f"UPDATE {table} SET a = 'q' WHERE id = 77",
        f"DELETE FROM {table} WHERE id < 3",
        f"DROP TABLE {table}",
        f"DROP TABLE {log}",
    )
    expect([entry.rowcount for entry in result[3:6]], [3, 0, 2], "the row counts")
    expect(result[3].lastrowid, 3, "the last key")


@_group.probe(
    "answer-in-error",
    on=EVERY,
    fact="A batch that fails on purpose returns a value in its error, whole up to 1,000 characters.",
    why="With it a batch names the statement that changed no row.",
    fix="Do not use do_bridge.batch() on this database, and report this.",
)
def answer_in_error(database: Database) -> Measured:
    table = database.table("rows")
    found = database.carried(
        f"changes() || ' ' || last_insert_rowid() || ' it''s ' || (SELECT group_concat(a) FROM {table})",
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)",
        f"INSERT INTO {table} (a) VALUES ('x'), ('y')",
    )
    expect(found, "2 2 it's x,y", "the answer in the error")
    whole = 0
    for size in _SIZES:
        try:
            database.carried(f"printf('%0{size}d', 7)")
        except (Cut, Error) as error:
            if not whole:
                raise
            # The largest size is only measured: nothing relies on it.
            if isinstance(error, Error) and error.kind not in ("too_large", "internal"):
                raise
            break
        whole = size
    return {"error messages whole up to (characters)": whole}


@_group.probe(
    "constraint-codes",
    on=EVERY,
    fact="A violated constraint is named by SQLite's extended code, table and column.",
    why="IntegrityError and the errors of forms depend on them.",
    fix=_REPORT,
)
def constraint_codes(database: Database) -> None:
    table = database.table("rows")
    create = f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT UNIQUE NOT NULL CHECK (length(a) < 3))"
    for values, code, words in (
        ("(1, 'a'), (2, 'a')", "UNIQUE", f"UNIQUE constraint failed: {table}.a"),
        ("(1, NULL)", "NOTNULL", f"NOT NULL constraint failed: {table}.a"),
        ("(1, 'abc')", "CHECK", "CHECK constraint failed: length(a) < 3"),
        ("(1, 'a'), (1, 'b')", "PRIMARYKEY", f"UNIQUE constraint failed: {table}.id"),
    ):
        error = database.refusal(create, f"INSERT INTO {table} (id, a) VALUES {values}")
        expect((error.sqlite_code, str(error)), (f"SQLITE_CONSTRAINT_{code}", words), "code and text")


@_group.probe(
    "error-texts",
    on=EVERY,
    fact="For a missing table, a missing column and a syntax error SQLite's text comes back, and "
    "nothing has run.",
    why="Django and third-party code search these texts, and the driver derives its exceptions from them.",
    fix=_REPORT,
)
def error_texts(database: Database) -> None:
    missing = database.table("missing")
    for sql, words in (
        (f"SELECT * FROM {missing}", f"no such table: {missing}"),
        ("SELECT no_such_column", "no such column: no_such_column"),
        ("SELEC 1", 'near "SELEC": syntax error'),
    ):
        error = database.clean_refusal(sql)
        expect((str(error), error.effect), (words, "none"), "text and effect")
