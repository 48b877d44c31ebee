"""Probes of internal tables and foreign keys.

They check introspection, the rebuild of a table, and violations.
"""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import D1, EVERY, OBJECT, Group, Measured, Probe, Wrong, expect
from do_bridge.driver.internal import PLATFORM_AND_SQLITE, outside

PROBES: list[Probe] = []
_group = Group("Tables and foreign keys", PROBES)

_REPORT = "Do not migrate, and report this with the output of `manage.py relay doctor --json`."

_NOT_INTERNAL: Final = outside(PLATFORM_AND_SQLITE)
_FOREIGN_KEY: Final = "SQLITE_CONSTRAINT_FOREIGNKEY"


@_group.probe(
    "internal-tables",
    on=EVERY,
    fact="Tables can be read with their columns, once the runtime's own are left out by name.",
    why="One statement that touches a `_cf_*` table fails as a whole, and dumps, copies and deletions "
    "with it.",
    fix="Report the names in the message: the package has to leave them out, too.",
)
def internal_tables(database: Database) -> Measured:
    table = database.table("rows")
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)",
        "SELECT group_concat(name, ' ') AS r FROM sqlite_master WHERE type = 'table' "
        f"AND NOT ({_NOT_INTERNAL})",
        f"SELECT sum(m.name = '{table}') AS r FROM (SELECT name FROM sqlite_master WHERE type = 'table' "
        f"AND {_NOT_INTERNAL}) AS m JOIN pragma_table_xinfo(m.name) AS x",
        f"SELECT sum(l.name = '{table}') AS r FROM pragma_table_list AS l WHERE {_NOT_INTERNAL}",
        f"DROP TABLE {table}",
    )
    expect(
        [entry.rows for entry in result[2:4]], [[(2,)], [(1,)]], "the columns and the table that were found"
    )
    return {"internal tables": result[1].rows[0][0] or "none"}


@_group.probe(
    "foreign-keys-immediate",
    on=EVERY,
    fact="A row that points at a missing row is refused at once, with the code of a foreign key.",
    why="Django's IntegrityError comes from that code. Without it rows would point at missing rows.",
    fix=_REPORT,
)
def foreign_keys_immediate(database: Database) -> None:
    parent, child = database.table("parent"), database.table("child")
    error = database.refusal(
        f"CREATE TABLE {parent} (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE {child} (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES {parent} (id))",
        f"INSERT INTO {child} (p) VALUES (99)",
    )
    expect(error.sqlite_code, _FOREIGN_KEY, "the code of the refusal")


@_group.probe(
    "foreign-keys-stay-on",
    on=OBJECT,
    fact="`PRAGMA foreign_keys=off` changes nothing.",
    why="The setting would stay for all clients of the object.",
    fix=_REPORT,
)
def foreign_keys_stay_on(database: Database) -> None:
    parent, child = database.table("parent"), database.table("child")
    error = database.refusal(
        "PRAGMA foreign_keys=off",
        f"CREATE TABLE {parent} (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE {child} (id INTEGER PRIMARY KEY, p INTEGER REFERENCES {parent} (id))",
        f"INSERT INTO {child} (p) VALUES (99)",
    )
    expect(error.sqlite_code, _FOREIGN_KEY, "the code of the refusal")
    expect(database.value("PRAGMA foreign_keys"), 1, "PRAGMA foreign_keys afterwards")


@_group.probe(
    "foreign-keys-deferred",
    on=(OBJECT, D1),
    fact="A batch that deferred its foreign keys and leaves a row pointing at a missing one is refused "
    "as a whole.",
    why="The runtime would reset the object, or keep the row. The relay checks before the commit.",
    fix="Run `manage.py relay deploy`. If that does not help, do not migrate, and report this.",
)
def foreign_keys_deferred(database: Database) -> None:
    parent, child = database.table("parent"), database.table("child")
    error = database.refusal(
        f"CREATE TABLE {parent} (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE {child} (id INTEGER PRIMARY KEY, p INTEGER REFERENCES {parent} (id))",
        "PRAGMA defer_foreign_keys=on",
        f"INSERT INTO {child} (p) VALUES (99)",
    )
    expect((error.kind, error.effect), ("foreign_key", "none"), "kind and effect of the refusal")
    names = database.rows("SELECT name FROM sqlite_master WHERE name IN (%s, %s)", parent, child)
    expect(names, [], "what is left of the batch")


@_group.probe(
    "rebuild",
    on=EVERY,
    fact="A table that others point at is rebuilt in one batch, in the order of migrations, without "
    "losing a row.",
    why="Most changes of a column rebuild its table.",
    fix=_REPORT,
)
def rebuild(database: Database) -> None:
    table, child = database.table("t"), database.table("child")
    new, copy = database.table("new"), database.table("copy")
    result = database.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)",
        f"CREATE TABLE {child} (id INTEGER PRIMARY KEY, t INTEGER NOT NULL REFERENCES {table} (id))",
        f"INSERT INTO {table} (id, a) VALUES (1, 'a'), (2, 'b')",
        f"INSERT INTO {child} (t) VALUES (1), (2), (2)",
        "PRAGMA defer_foreign_keys=on",
        f"CREATE TABLE {new} (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT DEFAULT 'new')",
        f"CREATE TABLE {copy} AS SELECT * FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE {new} RENAME TO {table}",
        f"INSERT INTO {table} (id, a) SELECT id, a FROM {copy}",
        f"DROP TABLE {copy}",
        f"SELECT group_concat(r.a || r.b) AS r FROM {child} AS c JOIN {table} AS r ON r.id = c.t",
        f"SELECT count(*) AS n FROM pragma_foreign_key_check('{child}')",
        f"SELECT \"table\" AS r FROM pragma_foreign_key_list('{child}')",
        f"DROP TABLE {child}",
        f"DROP TABLE {table}",
    )
    found = [entry.rows for entry in result[11:14]]
    expect(found, [[("anew,bnew,bnew",)], [(0,)], [(table,)]], "rows, violations and the referenced table")


@_group.probe(
    "violations-found",
    on=EVERY,
    fact="`pragma_foreign_key_check` finds a violation inside the batch that made it.",
    why="Migrations and loads check with it before they commit.",
    fix=_REPORT,
)
def violations_found(database: Database) -> None:
    parent, child = database.table("parent"), database.table("child")
    found = database.carried(
        f"(SELECT count(*) FROM pragma_foreign_key_check('{child}'))",
        f"CREATE TABLE {parent} (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE {child} (id INTEGER PRIMARY KEY, p INTEGER REFERENCES {parent} (id))",
        "PRAGMA defer_foreign_keys=on",
        f"INSERT INTO {child} (p) VALUES (99), (98)",
    )
    if found != "2":
        raise Wrong(f"{found} violations were found instead of 2")
