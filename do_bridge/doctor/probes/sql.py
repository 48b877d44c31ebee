"""Probes of the SQL that the dialect writes.

They check functions, statements, pragmas, and what must be refused.
"""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import EVERY, OBJECT, Group, Measured, Probe, Wrong, expect
from do_bridge.driver import Error

PROBES: list[Probe] = []
_group = Group("SQL", PROBES)

_REPORT = "Report this with the output of `manage.py relay doctor --json`."

#: The functions that the dialect calls, each with its value.
_FUNCTIONS: Final = {
    "pow(2,10)": 1024,
    "ln(1)": 0,
    "log(100)": 2,
    "sqrt(81)": 9,
    "ceil(1.2)": 2,
    "floor(1.8)": 1,
    "mod(7,4)": 3,
    "sign(-3)": -1,
    "round(2.567,2)": 2.57,
    "iif(1,2,3)": 2,
    "coalesce(NULL,4)": 4,
    "nullif(1,1)": None,
    "concat('a',NULL,'b')": "ab",
    "concat_ws(',','a','b')": "a,b",
    "unhex('41')": b"A",
    "hex('A')": "41",
    "instr('hello','l')": 3,
    "substr('hello',2,3)": "ell",
    "replace('aba','a','c')": "cbc",
    "printf('%05.2f',1.5)": "01.50",
    "lower('ABC')": "abc",
    "quote('it''s')": "'it''s'",
    "char(0)": "\0",
    "unicode('A')": 65,
    "json_array(1,'a')": '[1,"a"]',
    "json_object('a',1)": '{"a":1}',
    "json_extract('[1,2]','$[1]')": 2,
    "json_type('{\"a\":1}','$.a')": "integer",
    "json_valid('x')": 0,
    "'{\"a\":[5]}'->>'$.a[0]'": 5,
    "(SELECT json_group_array(value) FROM json_each('[3,1]'))": "[3,1]",
    "(SELECT string_agg(value,'-') FROM json_each('[1,2]'))": "1-2",
    "(SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY value) AS n FROM json_each('[7,8]')))": 3,
    "strftime('%Y-%m-%d %H:%M:%f','2024-02-29 23:59:59.123456')": "2024-02-29 23:59:59.123",
    "datetime('2024-03-01','-1 day')": "2024-02-29 00:00:00",
    "unixepoch('2000-01-01')": 946684800,
    "julianday('2000-01-01 12:00')": 2451545,
    "timediff('2024-03-01','2024-02-01')": "+0000-01-00 00:00:00.000",
}

#: Functions by the release of SQLite that added them; a refusal that names one shows that it exists.
_RELEASES: Final = (
    ("3.44", "concat('a')"),
    ("3.45", "jsonb('1')"),
    ("3.46", "json_pretty('1')"),
    ("3.48", "if(1,2)"),
    ("3.50", "unistr('a')"),
    ("3.53", "json_array_insert('[1]','$[0]',2)"),
)
_UNKNOWN: Final = "no such function"


@_group.probe(
    "functions",
    on=EVERY,
    fact=f"{len(_FUNCTIONS)} functions that the dialect calls exist and return SQLite's values.",
    why="Queries that use them would fail, or return other values than on sqlite3.",
    fix=_REPORT,
)
def functions(database: Database) -> None:
    calls = list(_FUNCTIONS)
    selected = ", ".join(f"{call} AS f{index}" for index, call in enumerate(calls))
    row = database.rows(f"SELECT {selected}")[0]
    wrong = [
        f"{call} returns {found!r}"
        for call, found in zip(calls, row, strict=True)
        if found != _FUNCTIONS[call]
    ]
    if wrong:
        raise Wrong("; ".join(wrong))


@_group.probe(
    "sqlite-release",
    on=EVERY,
    fact="SQLite is 3.44 or newer.",
    why="The dialect uses concat_ws() and string_agg().",
    fix=_REPORT,
)
def sqlite_release(database: Database) -> Measured:
    found = ""
    for release, call in _RELEASES:
        try:
            database.batch(f"SELECT {call} AS a")
        except Error as error:
            if error.kind != "sql":
                raise
            if _UNKNOWN in str(error):
                break
        found = release
    if not found:
        raise Wrong("concat() is unknown")
    return {"SQLite": f"{found} or newer"}


@_group.probe(
    "pragmas",
    on=EVERY,
    fact="The pragmas of introspection and of foreign keys are accepted.",
    why="Migrations and inspectdb read tables, indexes and foreign keys with them.",
    fix=_REPORT,
)
def pragmas(database: Database) -> None:
    one, two = database.table("one"), database.table("two")
    result = database.batch(
        f"CREATE TABLE {one} (id INTEGER PRIMARY KEY, a TEXT, g INTEGER AS (id * 2))",
        f"CREATE TABLE {two} (id INTEGER PRIMARY KEY, one_id INTEGER REFERENCES {one} (id))",
        f"CREATE UNIQUE INDEX {one}_a ON {one} (a)",
        f"SELECT group_concat(name) AS r FROM pragma_table_xinfo('{one}')",
        f"SELECT group_concat(name) AS r FROM pragma_index_list('{one}')",
        f"SELECT group_concat(name) AS r FROM pragma_index_info('{one}_a')",
        f"SELECT group_concat(\"table\") AS r FROM pragma_foreign_key_list('{two}')",
        f"SELECT count(*) AS r FROM pragma_table_list WHERE name IN ('{one}', '{two}')",
        f"DROP TABLE {two}",
        f"DROP TABLE {one}",
    )
    found = [entry.rows[0][0] for entry in result[3:8]]
    expect(found, ["id,a,g", f"{one}_a", "a", one, 2], "columns, indexes, keys and tables")
    expect(database.value("PRAGMA foreign_keys"), 1, "PRAGMA foreign_keys")


@_group.probe(
    "refused-statements",
    on=EVERY,
    fact="ATTACH and temporary tables are refused, on an object also BEGIN, SAVEPOINT and VACUUM.",
    why="Otherwise one client could change a connection that others use.",
    fix=_REPORT,
)
def refused_statements(database: Database) -> None:
    statements = ["ATTACH ':memory:' AS other", f"CREATE TEMP TABLE {database.table('temp')} (a)"]
    if database.kind == OBJECT:
        # If one were accepted after all, only the doctor's own object would have it.
        statements += ["BEGIN", "SAVEPOINT doctor", "VACUUM"]
    for statement in statements:
        database.clean_refusal(statement)
    expect(database.value("SELECT 1 AS a"), 1, "SELECT 1 after the refusals")


@_group.probe(
    "writing-statements",
    on=EVERY,
    fact="RETURNING, upserts, generated columns, partial and expression indexes work.",
    why="create(), bulk_create(update_conflicts=True) and the constraints of models use them.",
    fix=_REPORT,
)
def writing_statements(database: Database) -> None:
    table = database.table("rows")
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a INTEGER UNIQUE, b INTEGER AS (a * 2) STORED)",
        f"CREATE INDEX {table}_p ON {table} (a) WHERE a > 1",
        f"CREATE INDEX {table}_e ON {table} ((a + 1))",
        f"INSERT INTO {table} (a) VALUES (2), (3) RETURNING id, b",
        f"INSERT INTO {table} (a) VALUES (3), (4) ON CONFLICT (a) DO UPDATE SET a = excluded.a + 10 "
        "RETURNING a",
        f"UPDATE {table} SET a = v.n FROM (SELECT 1 AS i, 50 AS n) AS v WHERE id = v.i RETURNING b",
        f"DROP TABLE {table}",
    )
    found = [entry.rows for entry in result[3:6]]
    expect(found, [[(1, 4), (2, 6)], [(13,), (4,)], [(100,)]], "the rows of RETURNING")


@_group.probe(
    "altering-tables",
    on=EVERY,
    fact="ALTER TABLE renames tables and columns, adds and drops columns.",
    why="Migrations alter tables this way if they need no rebuild.",
    fix=_REPORT,
)
def altering_tables(database: Database) -> None:
    table, other = database.table("before"), database.table("after")
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT, gone TEXT)",
        f"INSERT INTO {table} (a) VALUES ('kept')",
        f"ALTER TABLE {table} RENAME TO {other}",
        f"ALTER TABLE {other} RENAME COLUMN a TO b",
        f"ALTER TABLE {other} ADD COLUMN c TEXT DEFAULT 'new' NOT NULL",
        f"ALTER TABLE {other} DROP COLUMN gone",
        f"SELECT * FROM {other}",
        f"DROP TABLE {other}",
    )
    expect((result[6].columns, result[6].rows), (["id", "b", "c"], [(1, "kept", "new")]), "the altered table")


@_group.probe(
    "triggers",
    on=EVERY,
    fact="A trigger with several statements is created whole.",
    why="A transport that splits a text at its semicolons would create a broken trigger.",
    fix="Create triggers over the relay (D1_TRANSPORT=relay).",
)
def triggers(database: Database) -> Measured:
    table = database.table("rows")
    result = database.batch(
        f"CREATE TABLE {table} (n INTEGER)",
        f"CREATE TRIGGER {table}_t AFTER INSERT ON {table} WHEN new.n < 10 BEGIN "
        f"INSERT INTO {table} VALUES (10); INSERT INTO {table} VALUES (20); END",
        f"INSERT INTO {table} VALUES (1)",
        f"SELECT group_concat(n) AS r FROM {table}",
        f"DROP TABLE {table}",
    )
    expect(result[3].rows, [("1,10,20",)], "the rows that the trigger wrote")
    return {"trigger bodies": "whole"}


@_group.probe(
    "counters",
    on=EVERY,
    fact="AUTOINCREMENT's counters in `sqlite_sequence` can be set.",
    why="flush, loads and sequence resets write them.",
    fix=_REPORT,
)
def counters(database: Database) -> None:
    table = database.table("rows")
    found = database.carried(
        f"(SELECT max(id) FROM {table})",
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT)",
        f"INSERT INTO {table} (a) VALUES ('first')",
        f"UPDATE sqlite_sequence SET seq = 41 WHERE name = '{table}'",
        f"INSERT INTO {table} (a) VALUES ('second')",
    )
    expect(found, "42", "the key after the counter was set to 41")


@_group.probe(
    "list-uses-index",
    on=EVERY,
    fact="`id IN (SELECT value FROM json_each(?))` uses the primary key's index.",
    why="Otherwise filter(pk__in=…) would read, and be billed for, the whole table.",
    fix=_REPORT,
)
def list_uses_index(database: Database) -> None:
    table = database.table("rows")
    chosen = f"FROM {table} WHERE id IN (SELECT value FROM json_each(%s))"
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)",
        f"INSERT INTO {table} (a) SELECT 'x' FROM json_each('[1,2,3,4]')",
        (f"EXPLAIN QUERY PLAN SELECT * {chosen}", ["[1,2]"]),
        (f"SELECT count(*) AS n {chosen}", ["[1,2,9]"]),
        f"DROP TABLE {table}",
    )
    plan = " | ".join(str(row[-1]) for row in result[2].rows)
    if "USING INTEGER PRIMARY KEY" not in plan:
        raise Wrong(f"the plan is {plan}")
    expect(result[3].rows, [(2,)], "the number of rows found")
