"""Facts about a database: its tables, counts, keys and rows, each question in one round trip."""

from dataclasses import dataclass, field

from do_bridge.backends.remote_sqlite.introspection import NOT_INTERNAL

COUNT_LIMIT = 10_000  # rows counted in a table: more would be read, and paid for, at each look
ACTIVITY_ROWS = 1_000  # newest rows of a table in which its last time is looked for
COUNTS_IN_A_STATEMENT = 90  # below the runtime's 100 columns
PREVIEW = 120  # characters of a text in a list
LONGEST_TEXT = 1_000_000
LONGEST_BLOB = 4_096  # bytes of a blob that are shown

_TABLES = f"SELECT name FROM sqlite_master WHERE type = 'table' AND {NOT_INTERNAL}"  # noqa: S608
_LIST = f"""
SELECT name, type, sql, coalesce((SELECT max(wr) FROM pragma_table_list(m.name) WHERE schema = 'main'), 0)
FROM sqlite_master m WHERE type IN ('table', 'view') AND {NOT_INTERNAL} ORDER BY name
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


def quote(name):
    """Return `name` as SQL's quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Column:
    """A column as the database declares it; `key` is its place in the primary key, from 1, or 0."""

    name: str
    type: str
    not_null: bool
    default: str | None
    key: int


@dataclass
class Index:
    """An index; `origin` is "c" for CREATE INDEX, "u" for UNIQUE, "pk"; an expression is a None column."""

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
    """A table or view; `rows` is None until counted, and `is_more` says that counting stopped there."""

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
    """Return {name: Table} of everything but the runtime's own and this package's bookkeeping; one trip."""
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
    """Return the names of the tables, in order; one trip."""
    result = connection.execute_batch([(f"{_TABLES} ORDER BY name", None)])[0]
    return [row[0] for row in result.rows]


def count_statements(names):
    """Return the statements that count the rows of tables, COUNT_LIMIT + 1 at most in each."""
    parts = []
    for start in range(0, len(names), COUNTS_IN_A_STATEMENT):
        counts = [
            f"(SELECT count(*) FROM (SELECT 1 FROM {quote(name)} LIMIT {COUNT_LIMIT + 1}))"  # noqa: S608
            for name in names[start : start + COUNTS_IN_A_STATEMENT]
        ]
        parts.append((f"SELECT {', '.join(counts)}", None))
    return parts


def look(connection, names, times=()):
    """Return ({table: rows, COUNT_LIMIT + 1 for more}, applied migrations, newest time or None); one trip.

    `times` are (table, column) whose newest value among the last rows tells when something was done.
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


_VALUE = "\0"  # stands for a placeholder, and in no name or statement


@dataclass(frozen=True)
class Cell:
    """A value as SQLite holds it: its type's name, its text (a blob's as hex), and its whole length."""

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
    """Return the expression for a value as one text, so that a result has no more columns than its table."""
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


def row_key(table):
    """Return the column by which a row's URL names it, "rowid" where the key is none, or None."""
    key = table.primary_key
    if len(key) == 1 and "BLOB" not in table.column(key[0]).type.upper():
        return key[0]
    if table.is_view or table.without_rowid or len(table.columns) >= 100 or table.column("rowid"):
        return None
    return "rowid"


@dataclass
class Page:
    """A page of rows: (key or None, {column: Cell}) each; `has_next` where more follow."""

    rows: list
    has_next: bool
    total: int
    is_more: bool


def page(connection, table, *, filters=(), order=None, descending=False, number=1, size=50, hidden=()):
    """Return a Page of `table`; one trip.

    `filters` are (column, operator, value) of OPERATORS; `order` a column's name; the cells of columns in
    `hidden` are never read.
    """
    key = row_key(table)
    if key in hidden:
        key = None
    where, params = _where(filters)
    shown = [column.name for column in table.columns if column.name not in hidden]
    wanted = [_cell_sql(name, PREVIEW, 16) for name in shown]
    if key:
        # As a text the key is exact, and ready for a URL.
        wanted.append(f"CASE WHEN length({_key(key)}) <= 200 THEN CAST({_key(key)} AS TEXT) END")
    sql = f"SELECT {', '.join(wanted)} FROM {quote(table.name)}{where}"  # noqa: S608 - quoted names
    sql += _order(key, order, descending) + f" LIMIT {size + 1} OFFSET {(number - 1) * size}"
    statements = [_filled(sql, params)]
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {quote(table.name)}{where} LIMIT {COUNT_LIMIT + 1})"  # noqa: S608
    statements.append(_filled(counted, params))
    result, count = connection.execute_batch(statements)
    total = count.rows[0][0]
    rows = [_row(values, shown, table, bool(key)) for values in result.rows[:size]]
    return Page(rows, len(result.rows) > size, min(total, COUNT_LIMIT), total > COUNT_LIMIT)


def _row(values, shown, table, has_key):
    cells = dict(zip(shown, map(_cell, values[: len(shown)]), strict=True))
    return (values[-1] if has_key else None), {c.name: cells.get(c.name, HIDDEN) for c in table.columns}


def _key(key):
    return "rowid" if key == "rowid" else quote(key)


def _order(key, order, descending):
    terms = [f"{quote(order)}{' DESC' if descending else ''}"] if order else []
    if key and key != order:
        terms.append(_key(key))
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _filled(sql, params):
    """Return (sql, params) with the placeholders put in last: names and formats may hold percent signs."""
    return sql.replace("%", "%%").replace(_VALUE, "%s"), params


def _where(filters):
    terms, params = [], []
    for column, operator, value in filters:
        # The placeholder has no affinity of its own, so the column's applies, as it does to a literal.
        terms.append(OPERATORS[operator].format(column=quote(column), value=_VALUE))
        if "{value}" in OPERATORS[operator]:
            params.append(value)
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), params


def row(connection, table, value, hidden=()):
    """Return {column: Cell} of the row whose key (see `row_key`) is the text `value`, or None; one trip."""
    shown = [column.name for column in table.columns if column.name not in hidden]
    wanted = ", ".join(_cell_sql(name, LONGEST_TEXT, LONGEST_BLOB) for name in shown) or "NULL"
    sql = f"SELECT {wanted} FROM {quote(table.name)} WHERE {_key(row_key(table))} = {_VALUE} LIMIT 1"  # noqa: S608
    found = connection.execute_batch([_filled(sql, [value])])[0].rows
    return _row(found[0], shown, table, False)[1] if found else None


def sound(connection):
    """Return what SQLite's own checks complain of, as lines: `quick_check` and `foreign_key_check`."""
    quick, keys = connection.execute_batch([("PRAGMA quick_check", None), ("PRAGMA foreign_key_check", None)])
    lines = [str(row[0]) for row in quick.rows if row[0] != "ok"]
    lines += [f"A row of {row[0]} points to a row of {row[2]} that is not there." for row in keys.rows[:20]]
    return lines
