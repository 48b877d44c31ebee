"""Queries for tables, counts, keys and rows, one round trip each."""

from dataclasses import dataclass, field

from do_bridge.driver.internal import NOT_INTERNAL
from do_bridge.driver.limits import COLUMNS
from do_bridge.driver.sql import quote

from . import row_names

COUNT_LIMIT = 10_000  # rows counted in a table; more would be read, and billed, at each view
ACTIVITY_ROWS = 1_000  # newest rows of a table in which its last time is looked for
COUNTS_IN_A_STATEMENT = 90  # below the runtime's 100 columns
PREVIEW = 120  # characters of a text in a list
LONGEST_TEXT = 1_000_000
LONGEST_BLOB = 4_096  # bytes of a blob that are shown

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


# Rows

OPERATORS = {
    "is": "{column} = {value}",
    "not": "{column} IS NOT {value}",
    "has": "instr(lower({column}), lower({value})) > 0",
    "starts": "instr(lower({column}), lower({value})) = 1",
    "lt": "{column} < {value}",
    "le": "{column} <= {value}",
    "gt": "{column} > {value}",
    "ge": "{column} >= {value}",
    "null": "{column} IS NULL",
    "filled": "{column} IS NOT NULL",
}


_VALUE = "\0"  # stands for a placeholder; no name or statement contains it


@dataclass(frozen=True)
class Cell:
    """A value as SQLite stores it: its type, its text and its length.

    The text of a blob is hexadecimal. The length is that of the whole value.
    """

    kind: str
    text: str
    length: int = 0

    @property
    def is_cut(self):
        """Whether `text` is only the beginning."""
        shown = len(self.text) // 2 if self.kind == "blob" else len(self.text)
        return self.kind in ("text", "blob") and shown < self.length


NULL = Cell("null", "")
HIDDEN = Cell("hidden", "")


def _cell_sql(column, text, blob):
    """Return the expression for a value as one text.

    So a result has no more columns than its table.
    """
    name = quote(column)
    return (
        f"CASE typeof({name}) WHEN 'null' THEN NULL "
        f"WHEN 'blob' THEN 'b' || length({name}) || ':' || hex(substr({name}, 1, {blob})) "
        f"WHEN 'text' THEN 't' || length({name}) || ':' || substr({name}, 1, {text}) "
        f"WHEN 'integer' THEN 'i0:' || {name} ELSE 'r0:' || format('%!.17g', {name}) END"
    )


_KINDS = {"b": "blob", "t": "text", "i": "integer", "r": "real"}


def _cell(value):
    if value is None:
        return NULL
    length, _, text = value[1:].partition(":")
    return Cell(_KINDS[value[0]], text, int(length))


@dataclass
class Page:
    """A page of rows, each as (name in URLs or None, {column: Cell}).

    `has_next` if more follow.
    """

    rows: list
    has_next: bool
    total: int
    is_more: bool


def page(connection, table, *, filters=(), order=None, descending=False, number=1, size=50, hidden=()):
    """Return a Page of `table`; one round trip.

    `filters` are (column, operator, value) of OPERATORS; `order` is a column's name; the cells of columns
    in `hidden` are never read.
    """
    name = None if set(table.primary_key) & set(hidden) else row_names.name_sql(table)
    where, params = _where(filters)
    shown = [column.name for column in table.columns if column.name not in hidden]
    wanted = [_cell_sql(column, PREVIEW, 16) for column in shown]
    tail = f" FROM {quote(table.name)}{where}{_order(table, order, descending)}"
    tail += f" LIMIT {size + 1} OFFSET {(number - 1) * size}"
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {quote(table.name)}{where} LIMIT {COUNT_LIMIT + 1})"  # noqa: S608
    # A result has no more columns than a table may have: the name that would be one too many is read
    # separately.
    together = name is not None and len(wanted) < COLUMNS
    selects = [f"SELECT {', '.join([*wanted, name] if together else wanted)}{tail}", counted]
    if name is not None and not together:
        selects.append(f"SELECT {name}{tail}")
    result, count, *names = connection.execute_batch([_filled(sql, params) for sql in selects])
    total = count.rows[0][0]
    rows = result.rows[:size]
    if together:
        called = [values[-1] for values in rows]
    else:
        called = [row[0] for row in names[0].rows[:size]] if names else [None] * len(rows)
    cells = [_cells(values, shown, table) for values in rows]
    found = list(zip(called, cells, strict=False))
    return Page(found, len(result.rows) > size, min(total, COUNT_LIMIT), total > COUNT_LIMIT)


def _cells(values, shown, table):
    cells = dict(zip(shown, map(_cell, values[: len(shown)]), strict=True))
    return {column.name: cells.get(column.name, HIDDEN) for column in table.columns}


def _order(table, order, descending):
    terms = [f"{quote(order)}{' DESC' if descending else ''}"] if order else []
    terms += [column for column in row_names.order_columns(table) if not order or column != quote(order)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _filled(sql, params):
    """Return (sql, params) with the placeholders inserted last.

    Names and formats may contain percent signs.
    """
    return sql.replace("%", "%%").replace(_VALUE, "%s"), params


def _where(filters):
    terms, params = [], []
    for column, operator, value in filters:
        # The placeholder has no affinity of its own, so the column's applies, as it does to a literal.
        terms.append(OPERATORS[operator].format(column=quote(column), value=_VALUE))
        if "{value}" in OPERATORS[operator]:
            params.append(value)
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), params


def row(connection, table, name, hidden=()):
    """Return {column: Cell} of one row, or None.

    `row_names` describes the row's name in URLs. Takes one round trip.
    """
    picked = row_names.conditions(table, name)
    if picked is None:
        return None
    shown = [column.name for column in table.columns if column.name not in hidden]
    wanted = ", ".join(_cell_sql(column, LONGEST_TEXT, LONGEST_BLOB) for column in shown) or "NULL"
    where = " AND ".join(f"{column} = {_VALUE}" for column, _ in picked)
    sql = f"SELECT {wanted} FROM {quote(table.name)} WHERE {where} LIMIT 1"  # noqa: S608
    found = connection.execute_batch([_filled(sql, [value for _, value in picked])])[0].rows
    return _cells(found[0], shown, table) if found else None


def sound(connection):
    """Return the problems that SQLite's own checks find, one in each line.

    These are `quick_check` and `foreign_key_check`.
    """
    quick, keys = connection.execute_batch([("PRAGMA quick_check", None), ("PRAGMA foreign_key_check", None)])
    lines = [str(row[0]) for row in quick.rows if row[0] != "ok"]
    lines += [f"A row of {row[0]} points to a row of {row[2]} that does not exist." for row in keys.rows[:20]]
    return lines
