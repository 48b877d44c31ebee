"""Queries for tables, counts, keys and rows, one round trip each."""

from dataclasses import dataclass, field

from do_bridge.driver.internal import NOT_INTERNAL
from do_bridge.driver.sql import quote

COUNT_LIMIT = 10_000  # rows counted in a table; more would be read, and billed, at each view
ACTIVITY_ROWS = 1_000  # newest rows of a table in which its last time is looked for
COUNTS_IN_A_STATEMENT = 90  # below the runtime's 100 columns

# A full-text index shows the data of its own tables.
_TABLES = (
    f"SELECT name FROM sqlite_master WHERE type = 'table' AND {NOT_INTERNAL} AND NOT EXISTS (SELECT 1 "  # noqa: S608
    "FROM pragma_table_list(sqlite_master.name) AS l WHERE l.schema = 'main' AND l.type = 'shadow')"
)
_LIST = f"""
SELECT name, type, sql, coalesce((SELECT max(wr) FROM pragma_table_list(m.name) WHERE schema = 'main'), 0)
FROM sqlite_master m WHERE (type = 'view' AND {NOT_INTERNAL}) OR name IN ({_TABLES}) ORDER BY name
"""  # noqa: S608 - constants
_COLUMNS = f"""
SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM (SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND {NOT_INTERNAL}) m,
    pragma_table_xinfo(m.name) c
ORDER BY m.name, c.cid
"""  # noqa: S608 - constants
_INDEXES = f"""
SELECT m.name, l.name, l."unique", l.origin, l.partial, i.name
FROM ({_TABLES}) m, pragma_index_list(m.name) l, pragma_index_info(l.name) i
ORDER BY m.name, l.name, i.seqno
"""  # noqa: S608 - constants
_KEYS = f"""
SELECT m.name, k."from", k."table", k."to", k.on_delete
FROM ({_TABLES}) m, pragma_foreign_key_list(m.name) k
ORDER BY m.name, k.id, k.seq
"""  # noqa: S608 - constants
_APPLIED = "SELECT app, name, applied FROM django_migrations ORDER BY id"


@dataclass
class Column:
    """A column as the database declares it.

    `key` is its place in the primary key, from 1, or 0.
    """

    name: str
    type: str
    not_null: bool
    default: str | None
    key: int


@dataclass
class Index:
    """An index; `origin` is "c" for CREATE INDEX, "u" for UNIQUE, "pk".

    An expression is a None column.
    """

    name: str
    unique: bool
    origin: str
    partial: bool
    columns: list = field(default_factory=list)


@dataclass
class ForeignKey:
    """One column's reference."""

    column: str
    table: str
    to: str | None
    on_delete: str


@dataclass
class Table:
    """A table or view.

    `rows` is None until counted, and `is_more` means that counting stopped there.
    """

    name: str
    is_view: bool
    sql: str
    without_rowid: bool
    columns: list = field(default_factory=list)
    indexes: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    rows: int | None = None
    is_more: bool = False

    @property
    def primary_key(self):
        """The names of the key's columns, in the key's order."""
        return [column.name for column in sorted(self.columns, key=lambda c: c.key) if column.key]

    def column(self, name):
        """Return the Column called `name`, or None."""
        return next((column for column in self.columns if column.name == name), None)


def tables(connection):
    """Return {name: Table} of the tables that are not internal.

    Takes one round trip.
    """
    listed, columns, indexes, keys = connection.execute_batch(
        [(sql, None) for sql in (_LIST, _COLUMNS, _INDEXES, _KEYS)]
    )
    found = {
        name: Table(name, kind == "view", sql or "", bool(without))
        for name, kind, sql, without in listed.rows
    }
    for table, name, kind, not_null, default, key, hidden in columns.rows:
        # 1 marks the hidden columns of virtual tables.
        if table in found and hidden != 1:
            found[table].columns.append(Column(name, kind, bool(not_null), default, key))
    for table, name, unique, origin, partial, column in indexes.rows:
        if table not in found:
            continue
        known = found[table].indexes
        if not known or known[-1].name != name:
            known.append(Index(name, bool(unique), origin, bool(partial)))
        known[-1].columns.append(column)
    for table, *values in keys.rows:
        if table in found:
            found[table].keys.append(ForeignKey(*values))
    return found


def table_names(connection):
    """Return the names of the tables, in order; one round trip."""
    result = connection.execute_batch([(f"{_TABLES} ORDER BY name", None)])[0]
    return [row[0] for row in result.rows]


def count_statements(names):
    """Return the statements that count at most COUNT_LIMIT + 1 rows each."""
    parts = []
    for start in range(0, len(names), COUNTS_IN_A_STATEMENT):
        counts = [
            f"(SELECT count(*) FROM (SELECT 1 FROM {quote(name)} LIMIT {COUNT_LIMIT + 1}))"  # noqa: S608
            for name in names[start : start + COUNTS_IN_A_STATEMENT]
        ]
        parts.append((f"SELECT {', '.join(counts)}", None))
    return parts


def counted(connection, tables, statements=()):
    """Count the rows of each of `tables` in the round trip of `statements`.

    Returns the results of the statements. The counts are put into the tables.
    """
    names = [name for name, table in tables.items() if not table.is_view]
    counts = count_statements(names)
    results = connection.execute_batch([*counts, *statements]) if counts or statements else []
    found = [value for result in results[: len(counts)] for value in result.rows[0]]
    for name, count in zip(names, found, strict=True):
        tables[name].rows = min(count, COUNT_LIMIT)
        tables[name].is_more = count > COUNT_LIMIT
    return results[len(counts) :]


def look(connection, names, times=()):
    """Return (counts of rows, applied migrations, newest time).

    The counts are {table: rows}, with COUNT_LIMIT + 1 for more. Takes one round trip. `times` are (table,
    column); the newest value among the last rows is the time of the last activity, or None.
    """
    statements = count_statements(names)
    counted = len(statements)
    has_history = "django_migrations" in names
    if has_history:
        statements.append((_APPLIED, None))
    known = [pair for pair in times if pair[0] in names]
    if known:
        statements.append((_newest(known), None))
    results = connection.execute_batch(statements) if statements else []
    counts = [value for result in results[:counted] for value in result.rows[0]]
    applied = [tuple(row) for row in results[counted].rows] if has_history else []
    newest = max((value for value in results[-1].rows[0] if value), default=None) if known else None
    return dict(zip(names, counts, strict=True)), applied, newest


def _newest(pairs):
    """Return the statement for the newest of all times, as one text."""
    terms = ", ".join(
        f"(SELECT max({quote(column)}) FROM (SELECT {quote(column)} FROM {quote(table)} "  # noqa: S608
        f"ORDER BY rowid DESC LIMIT {ACTIVITY_ROWS}))"
        for table, column in pairs[:COUNTS_IN_A_STATEMENT]
    )
    return f"SELECT {terms}"


def sound(connection):
    """Return the problems that SQLite's own checks find, one in each line.

    These are `quick_check` and `foreign_key_check`.
    """
    quick, keys = connection.execute_batch([("PRAGMA quick_check", None), ("PRAGMA foreign_key_check", None)])
    lines = [str(row[0]) for row in quick.rows if row[0] != "ok"]
    lines += [f"A row of {row[0]} points to a row of {row[2]} that does not exist." for row in keys.rows[:20]]
    return lines
