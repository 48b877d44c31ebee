"""Compilers that look for `as_remote_sqlite` before `as_sqlite`.

They send many rows as one JSON parameter.
"""

import functools
from itertools import chain

from django.db.backends.utils import debug_transaction
from django.db.models.sql import compiler

from do_bridge.django_compat import has_placeholder
from do_bridge.driver import limits
from do_bridge.driver.sql import prepare

from .functions import newer  # noqa: F401 - expressions get their methods
from .queries import deep, key_lists  # noqa: F401 - the collector's queries take Django's place
from .queries.chunked_fetch import PiecewiseSelect
from .queries.compiling import Watched
from .queries.json_rows import BLOBS, column_of, pieces, row_texts
from .queries.keyed_updates import KeyedUpdate
from .queries.wide import WideSelect
from .reading import converted
from .statements import settle

# A placeholder grows from 2 bytes to some 14.
SQL_BYTES = limits.SQL_BYTES * 9 // 10
PLACEHOLDER_BYTES = 14
# A blob or a long text has a parameter for itself.
LONG_VALUES = 40
LONG_VALUE = 4_000


@functools.cache
def method_name(node_class):
    """Return the name of the method that compiles a class.

    It is the first one in the order of the bases, `as_remote_sqlite` before `as_sqlite`.
    """
    for cls in node_class.__mro__:
        for name in ("as_remote_sqlite", "as_sqlite"):
            if name in vars(cls):
                return name
    return "as_sql"


class Dialect(Watched, compiler.SQLCompiler):
    """What all compilers share."""

    def compile(self, node):
        if getattr(node, "filter", None) is not None:
            node = deep.with_grouped_filter(node)
        sql, params = getattr(node, method_name(type(node)))(self, self.connection)
        return sql, params

    def apply_converters(self, rows, converters):
        return converted(rows, converters, self.connection)

    def get_combinator_sql(self, combinator, all):
        """Nest a combination of too many queries.

        The runtime limits the number of terms of a compound SELECT.
        """
        queries = self.query.combined_queries
        if len(queries) <= limits.COMPOUND_TERMS:
            return super().get_combinator_sql(combinator, all)
        try:
            self.query.combined_queries = self._nested(combinator, queries, all)
            return super().get_combinator_sql(combinator, all)
        finally:
            self.query.combined_queries = queries

    def _nested(self, combinator, queries, all):
        """Return queries, five at most, that combined give the same rows."""
        if combinator == "difference":
            # Without the rows of each of the others is without those of their union.
            return queries[0], self._combined("union", queries[1:], all=False)
        while len(queries) > limits.COMPOUND_TERMS:
            parts = limits.chunks(queries, limits.COMPOUND_TERMS)
            queries = tuple(
                part[0] if len(part) == 1 else self._combined(combinator, part, all) for part in parts
            )
        return queries

    @staticmethod
    def _combined(combinator, queries, all):
        query = queries[0].clone()
        query.clear_ordering(force=True)
        query.clear_limits()
        query.combined_queries, query.combinator, query.combinator_all = queries, combinator, all
        return query


class SQLCompiler(WideSelect, PiecewiseSelect, Dialect):
    pass


class Pieces(list):
    """The rows of an INSERT in several parts.

    A part is a pair: the SQL that gives its rows, and its parameters.
    """

    placeholder = "\x00"


class ReadsReturned:
    """Part of a compiler whose statement may have a RETURNING clause."""

    def get_converters(self, expressions):
        """Add the way back to those numbers that RETURNING gives as text."""
        expressions = list(expressions)
        converters = super().get_converters(expressions)
        for position, col in enumerate(expressions):
            if self.connection.ops.returned_as_text(col.target):
                after, _ = converters.get(position, ([], col))
                converters[position] = ([_number, *after], col)
        return converters


class SQLInsertCompiler(ReadsReturned, Dialect, compiler.SQLInsertCompiler):
    def assemble_as_sql(self, fields, value_rows):
        if only_values(fields, value_rows):
            # What Django would make of them, without its look at each value of each row.
            placeholder_rows, param_rows = [("%s",) * len(fields)] * len(value_rows), value_rows
        else:
            placeholder_rows, param_rows = super().assemble_as_sql(fields, value_rows)
        self.pieces = Pieces(insert_pieces(placeholder_rows, param_rows))
        return self.pieces, [[]]

    def as_sql(self):
        """Return the statements, each within the runtime's limits."""
        [(sql, params)] = super().as_sql()
        return [
            (sql.replace(Pieces.placeholder, values_sql, 1), (*values, *params))
            for values_sql, values in self.pieces
        ]

    def execute_sql(self, returning_fields=None):
        self.returning_fields = returning_fields
        rows = self._run(self.as_sql())
        if not returning_fields:
            return []
        table = self.query.get_meta().db_table
        converters = self.get_converters([field.get_col(table) for field in returning_fields])
        return list(self.apply_converters(rows, converters)) if converters else rows

    def _run(self, statements):
        """Run the statements as one atomic batch and return the rows that they give."""
        with self.connection.cursor() as cursor:
            if len(statements) == 1:
                cursor.execute(*statements[0])
                return cursor.fetchall() if self.returning_fields else []
            settle(self.connection)
            self.connection.validate_no_broken_transaction()
            note = f"{statements[0][0]} /* and {len(statements) - 1} more of its kind in one batch */"
            with debug_transaction(self.connection, note), self.connection.wrap_database_errors:
                results = self.connection.connection.run_many([prepare(*item) for item in statements])
            return list(chain.from_iterable(result.rows for result in results))


def _number(value, expression, connection):
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        return float(value)


def only_values(fields, value_rows):
    """Whether every value goes in as a parameter of its own."""
    if any(field is None or has_placeholder(field) for field in fields):
        return False
    return not any(hasattr(value, "as_sql") for row in value_rows for value in row)


def insert_pieces(placeholder_rows, param_rows):
    """Yield (sql, params) for the rows, in order.

    They are sent as JSON if all can be, else as VALUES.
    """
    if len(param_rows) > 1:
        columns, encoders = json_columns(placeholder_rows, param_rows)
        if columns:
            yield from json_pieces(columns, encoders, placeholder_rows, param_rows)
            return
    yield from values_pieces(placeholder_rows, param_rows)


def json_columns(placeholder_rows, param_rows):
    """Return the SELECT's columns and an encoder for each parameter of a row.

    Returns (None, None) if the rows can't be sent as JSON.
    """
    columns, encoders = [], []
    first = placeholder_rows[0]
    if any(row is not first and tuple(row) != tuple(first) for row in placeholder_rows):
        return None, None
    for placeholder in first:
        if placeholder == "%s":
            index = len(encoders)
            column, encoder = column_of((row[index] for row in param_rows), index)
            columns.append(column)
            encoders.append(encoder)
        elif "%s" in placeholder:
            return None, None
        else:
            columns.append(placeholder)
    return columns, encoders


def json_pieces(columns, encoders, placeholder_rows, param_rows):
    # WHERE keeps SQLite from reading a following ON CONFLICT as a join's condition.
    select = f"SELECT {', '.join(columns)} FROM json_each(%s) WHERE true"  # noqa: S608
    texts = []
    for placeholders, (row, text) in zip(placeholder_rows, row_texts(param_rows, encoders), strict=True):
        if text is not None:
            texts.append(text)
            continue
        # It keeps its place among the others: keys are given out in order.
        yield from ((select, (piece,)) for piece in pieces(texts))
        texts = []
        yield from values_pieces([placeholders], [row])
    yield from ((select, (piece,)) for piece in pieces(texts))


def values_pieces(placeholder_rows, param_rows):
    rows, params, size, long_values = [], [], 0, 0
    for placeholders, row in zip(placeholder_rows, param_rows, strict=True):
        sql = f"({', '.join(placeholders)})"
        length = len(sql) + PLACEHOLDER_BYTES * len(row)
        long = sum(isinstance(v, BLOBS | str) and len(v) >= LONG_VALUE for v in row)
        long += sum(isinstance(v, BLOBS) and len(v) < LONG_VALUE for v in row)
        if rows and (size + length > SQL_BYTES or long_values + long > LONG_VALUES):
            yield f"VALUES {', '.join(rows)}", tuple(params)
            rows, params, size, long_values = [], [], 0, 0
        rows.append(sql)
        params.extend(row)
        size += length
        long_values += long
    if rows:
        yield f"VALUES {', '.join(rows)}", tuple(params)


class SQLDeleteCompiler(Dialect, compiler.SQLDeleteCompiler):
    pass


class SQLUpdateCompiler(ReadsReturned, Dialect, compiler.SQLUpdateCompiler, KeyedUpdate):
    pass


class SQLAggregateCompiler(Dialect, compiler.SQLAggregateCompiler):
    pass
