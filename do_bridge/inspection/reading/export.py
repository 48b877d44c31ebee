"""Exports: all rows of a table or of a statement, in chunks, as CSV, JSON or SQL."""

import csv
import io
import json

from do_bridge import driver
from do_bridge.driver.sql import quote

from . import readonly, row_names
from .rows import Cell, cell_of, cell_sql, filled, where_sql

FORMS = {"csv": "text/csv", "json": "application/json", "sql": "application/sql"}
FIRST, MOST = 10, 2_000  # rows of a chunk
BYTES = 1_000_000  # of a chunk, about
WHOLE = 2_000_000  # characters and bytes, as much as a value can have


class _Chunks:
    """Yields lists of rows whose size follows from what the rows before took."""

    def __init__(self, ask):
        self.ask, self.size = ask, FIRST

    def __iter__(self):
        after, is_first = None, True
        while True:
            rows, after = self._next(after)
            # The first one also shows that there are no rows.
            if rows or is_first:
                yield rows
            if after is None:
                return
            is_first = False
            taken = sum(len(cell.text) for row in rows for cell in row) or 1
            self.size = max(1, min(MOST, self.size * 4, len(rows) * BYTES // taken))

    def _next(self, after):
        while True:
            try:
                return self.ask(after, self.size)
            except (driver.OperationalError, driver.DataError):
                # Perhaps an answer that is too large: the first, smallest chunk fails for other reasons.
                if self.size <= FIRST:
                    raise
                self.size = FIRST


def table_rows(connection, table, *, filters=(), hidden=()):
    """Return the names of a table's columns and an iterator over its chunks.

    A chunk is a list of rows, each a list of Cells. One round trip a chunk. Rows are read in the order of
    their key, so rows that are added or deleted between two chunks shift no other row.
    """
    names = [column.name for column in table.columns if column.name not in hidden]
    cells = [cell_sql(name, WHOLE, WHOLE) for name in names]
    rowid = row_names.rowid_column(table)
    keys = [rowid] if rowid else [quote(name) for name in table.primary_key]
    where, params = where_sql(filters)

    def ask(after, size):
        condition, values, offset = where, list(params), ""
        if keys and after is not None:
            marks = ", ".join("\0" for _ in keys)
            more = f"({', '.join(keys)}) > ({marks})"
            condition = f"{where} AND {more}" if where else f" WHERE {more}"
            values += after
        elif after is not None:
            offset = f" OFFSET {after[0]}"
        order = f" ORDER BY {', '.join(keys)}" if keys else ""
        # A result has at most as many columns as a table, so the keys come in a statement of their own.
        tail = f" FROM {quote(table.name)}{condition}{order} LIMIT {size}{offset}"
        asked = [f"SELECT {', '.join(cells) or 'NULL'}{tail}"]
        if keys:
            asked.append(f"SELECT {', '.join(_cell_key(key) for key in keys)}{tail}")
        results = connection.execute_batch([filled(sql, values) for sql in asked])
        rows = [[cell_of(value) for value in row[: len(names)]] for row in results[0].rows]
        if len(rows) < size:
            return rows, None
        if not keys:
            return rows, [(after[0] if after else 0) + len(rows)]
        return rows, [_value(cell_of(value)) for value in results[1].rows[-1]]

    return names, _Chunks(ask)


def _cell_key(key):
    return cell_sql(key[1:-1].replace('""', '"'), WHOLE, WHOLE) if key.startswith('"') else f"'i0:' || {key}"


def _value(cell):
    """Return the value of a Cell as a parameter."""
    if cell.kind == "integer":
        return int(cell.text)
    if cell.kind == "real":
        return float(cell.text)
    return bytes.fromhex(cell.text) if cell.kind == "blob" else cell.text


def statement_rows(database, sql):
    """Return a statement's column names and an iterator over its chunks.

    The statement must be a reading one. A chunk is a list of rows. The first chunk has been read. The
    statement runs once for each chunk.
    """
    first = readonly.run(database, sql, limit=readonly.ROW_LIMIT)

    def ask(after, size):
        if after is None:
            answer, start = first, 0
        else:
            start = after
            answer = readonly.run(database, sql, limit=max(size, readonly.ROW_LIMIT), offset=start)
        rows = [[_of_python(value) for value in row] for row in answer.rows]
        return rows, start + len(rows) if answer.is_cut else None

    return _distinct(first.columns), _Chunks(ask)


def _of_python(value):
    if value is None:
        return Cell("null", "")
    if isinstance(value, bytes):
        return Cell("blob", value.hex().upper())
    if isinstance(value, str):
        return Cell("text", value)
    return Cell("real" if isinstance(value, float) else "integer", repr(value))


def _distinct(names):
    """Return the names with a number behind those that came before."""
    found = []
    for name in names:
        number, called = 1, name
        while called in found:
            number += 1
            called = f"{name}_{number}"
        found.append(called)
    return found


# The formats: each yields texts, one for each chunk at least.


def as_csv(names, chunks):
    """Yield CSV with a line of names. NULL is an empty field, a blob is hexadecimal."""
    yield _csv_lines([names])
    for rows in chunks:
        yield _csv_lines([[cell.text for cell in row] for row in rows])


def _csv_lines(lines):
    file = io.StringIO()
    csv.writer(file).writerows(lines)
    return file.getvalue()


def as_json(names, chunks):
    """Yield a JSON list with an object for each row. A blob is hexadecimal."""
    separator = "[\n"
    for rows in chunks:
        lines = []
        for row in rows:
            pairs = (
                f"{json.dumps(name, ensure_ascii=False)}: {_json_value(cell)}"
                for name, cell in zip(names, row, strict=True)
            )
            lines.append(f"{separator}{{{', '.join(pairs)}}}")
            separator = ",\n"
        yield "".join(lines)
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _json_value(cell):
    if cell.kind == "null":
        return "null"
    # JSON has no infinity, and integers of any length.
    is_number = cell.kind == "integer" or (cell.kind == "real" and "n" not in cell.text.lower())
    return cell.text if is_number else json.dumps(cell.text, ensure_ascii=False)


def as_sql(names, chunks, *, table, create=""):
    """Yield INSERT statements for `table`, in one transaction.

    They follow the statement `create`, or a plain CREATE TABLE if that is empty.
    """
    create = create or f"CREATE TABLE {quote(table)} ({', '.join(map(quote, names))})"
    yield f"BEGIN;\n{create};\n"
    start = f"INSERT INTO {quote(table)} ({', '.join(map(quote, names))}) VALUES ("  # noqa: S608
    for rows in chunks:
        yield "".join(f"{start}{', '.join(map(_sql_value, row))});\n" for row in rows)
    yield "COMMIT;\n"


def _sql_value(cell):
    if cell.kind == "null":
        return "NULL"
    if cell.kind == "blob":
        return f"X'{cell.text}'"
    if cell.kind == "text":
        text = cell.text.replace("'", "''")
        # A statement's text would end at a NUL.
        return "'" + text.replace("\0", "' || char(0) || '") + "'"
    if cell.kind == "real" and "n" in cell.text.lower():
        return "-9e999" if cell.text.startswith("-") else "9e999"
    return cell.text
