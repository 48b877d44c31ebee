"""Queries for pages of rows, for single rows, and for the rows around them."""

from dataclasses import dataclass

from do_bridge.driver.limits import COLUMNS
from do_bridge.driver.sql import quote

from . import queries, row_names

PREVIEW = 120  # characters of a text in a list
LONGEST_TEXT = 1_000_000
LONGEST_BLOB = 4_096  # bytes of a blob that are shown

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


def cell_sql(column, text, blob):
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


def cell_of(value):
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


class PageQuery:
    """The statements of a page of rows, which travel together with others.

    `filters` are (column, operator, value) of OPERATORS; `order` is a column's name; the cells of columns
    in `hidden` are never read.
    """

    def __init__(self, table, *, filters=(), order=None, descending=False, number=1, size=50, hidden=()):
        self.table, self.size = table, size
        name = None if set(table.primary_key) & set(hidden) else row_names.name_sql(table)
        where, params = where_sql(filters)
        self._shown = [column.name for column in table.columns if column.name not in hidden]
        wanted = [cell_sql(column, PREVIEW, 16) for column in self._shown]
        tail = f" FROM {quote(table.name)}{where}{order_sql(table, order, descending)}"
        tail += f" LIMIT {size + 1} OFFSET {(number - 1) * size}"
        limit = queries.COUNT_LIMIT + 1
        counted = f"SELECT count(*) FROM (SELECT 1 FROM {quote(table.name)}{where} LIMIT {limit})"  # noqa: S608
        # A result has no more columns than a table may have: the name that would be one too many is read
        # separately.
        self._together = name is not None and len(wanted) < COLUMNS
        selects = [f"SELECT {', '.join([*wanted, name] if self._together else wanted)}{tail}", counted]
        if name is not None and not self._together:
            selects.append(f"SELECT {name}{tail}")
        self.statements = [filled(sql, params) for sql in selects]

    def read(self, results):
        """Return the Page from the results of the statements."""
        result, count, *names = results
        total, limit = count.rows[0][0], queries.COUNT_LIMIT
        rows = result.rows[: self.size]
        if self._together:
            called = [values[-1] for values in rows]
        else:
            called = [row[0] for row in names[0].rows[: self.size]] if names else [None] * len(rows)
        cells = [_cells(values, self._shown, self.table) for values in rows]
        found = list(zip(called, cells, strict=False))
        return Page(found, len(result.rows) > self.size, min(total, limit), total > limit)


def _cells(values, shown, table):
    cells = dict(zip(shown, map(cell_of, values[: len(shown)]), strict=True))
    return {column.name: cells.get(column.name, HIDDEN) for column in table.columns}


def order_sql(table, order, descending):
    terms = [f"{quote(order)}{' DESC' if descending else ''}"] if order else []
    terms += [column for column in row_names.order_columns(table) if not order or column != quote(order)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def filled(sql, params):
    """Return (sql, params) with the placeholders inserted last.

    Names and formats may contain percent signs.
    """
    return sql.replace("%", "%%").replace(_VALUE, "%s"), params


def where_sql(filters):
    terms, params = [], []
    for column, operator, value in filters:
        # The placeholder has no affinity of its own, so the column's applies, as it does to a literal.
        terms.append(OPERATORS[operator].format(column=quote(column), value=_VALUE))
        if "{value}" in OPERATORS[operator]:
            params.append(value)
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), params


class RowQuery:
    """The statements of one row, its neighbours and the rows that point to it.

    `row_names` describes the row's name in URLs. `is_possible` is False if no row can have it. `incoming` are
    (child Table, ForeignKey) whose rows are counted.
    """

    def __init__(self, table, name, *, hidden=(), incoming=()):
        self.table, self.incoming = table, list(incoming)
        picked = row_names.conditions(table, name)
        self.is_possible = picked is not None
        if not self.is_possible:
            return
        self._shown = [column.name for column in table.columns if column.name not in hidden]
        wanted = ", ".join(cell_sql(column, LONGEST_TEXT, LONGEST_BLOB) for column in self._shown) or "NULL"
        self._where = " AND ".join(f"{column} = {_VALUE}" for column, _ in picked)
        self._params = [value for _, value in picked]
        source = f"FROM {quote(table.name)} WHERE {self._where} LIMIT 1"
        self.statements = [filled(f"SELECT {wanted} {source}", self._params)]  # noqa: S608
        for sign, direction in (("<", " DESC"), (">", "")):
            self.statements.append(self._neighbour(sign, direction, source))
        for child, key in self.incoming:
            self.statements.append(self._count(child, key, source))

    def _neighbour(self, sign, direction, source):
        columns, name = row_names.order_columns(self.table), row_names.name_sql(self.table)
        if not columns or name is None:
            return "SELECT NULL", None
        here = ", ".join(columns)
        order = ", ".join(f"{column}{direction}" for column in columns)
        sql = (
            f"SELECT {name} FROM {quote(self.table.name)} "  # noqa: S608
            f"WHERE ({here}) {sign} (SELECT {here} {source}) ORDER BY {order} LIMIT 1"
        )
        return filled(sql, self._params)

    def _count(self, child, key, source):
        target = quote(key.to) if key.to else row_names.order_columns(self.table)[0]
        sql = (
            f"SELECT count(*) FROM (SELECT 1 FROM {quote(child.name)} "  # noqa: S608
            f"WHERE {quote(key.column)} = (SELECT {target} {source}) LIMIT {queries.COUNT_LIMIT + 1})"
        )
        return filled(sql, self._params)

    def read(self, results):
        """Return the RowFound from the results of the statements, or None."""
        row, previous, following, *counts = results
        if not row.rows:
            return None
        around = [result.rows[0][0] if result.rows else None for result in (previous, following)]
        limit = queries.COUNT_LIMIT
        pointing = [
            (child, key, min(result.rows[0][0], limit), result.rows[0][0] > limit)
            for (child, key), result in zip(self.incoming, counts, strict=True)
        ]
        return RowFound(_cells(row.rows[0], self._shown, self.table), *around, pointing)


@dataclass
class RowFound:
    """A row with its cells, its neighbours and the rows that point to it.

    `cells` is {column: Cell}. `previous` and `next` are the names of rows, or None. `pointing` are (child
    Table, ForeignKey, rows, whether counting stopped there).
    """

    cells: dict
    previous: str | None
    next: str | None
    pointing: list


def value_statement(table, name, column):
    """Return the statement that reads one whole value of a row.

    Return None if no row can have this name.
    """
    picked = row_names.conditions(table, name)
    if picked is None:
        return None
    where = " AND ".join(f"{key} = {_VALUE}" for key, _ in picked)
    cell = cell_sql(column, LONGEST_TEXT, LONGEST_BLOB)
    sql = f"SELECT {cell} FROM {quote(table.name)} WHERE {where} LIMIT 1"  # noqa: S608
    return filled(sql, [value for _, value in picked])


def value_of(result):
    """Return the Cell that `value_statement` read, or None."""
    return cell_of(result.rows[0][0]) if result.rows else None
