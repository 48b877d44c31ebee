"""Chunked fetch for QuerySet.iterator().

Each chunk is a statement that continues after the last row's key.
"""

import json
from collections import namedtuple
from itertools import chain

from django.db import DataError, NotSupportedError
from django.db.models.expressions import Col, ColPairs, OrderBy, RawSQL, Ref
from django.db.models.functions import Now, Random
from django.db.models.sql import compiler
from django.db.models.sql.constants import CURSOR, GET_ITERATOR_CHUNK_SIZE, MULTI
from django.db.models.sql.where import AND, WhereNode

from do_bridge.backends.remote_sqlite.reading import INTEGER_TYPES
from do_bridge.driver.limits import COLUMNS

from .wide import literals, value_of

# An answer may have 30 MB. A chunk should be much smaller, because both sides hold it.
PIECE_BYTES = 8_000_000
# The minimum, whatever chunk_size is: fewer rows are not worth a round trip, and the relay holds a whole
# answer of D1 before it can find that it is too large.
LEAST_ROWS, MOST_ROWS = 20, 20_000
SAMPLES = 50
# A statement has 100,000 bytes, and a term of the order occurs eight times in it.
LONGEST_TERM = 5_000
# Types whose values travel as they are stored: a REAL may lose its point, or be infinite.
AS_STORED = INTEGER_TYPES | {
    "BooleanField",
    "CharField",
    "DateField",
    "DateTimeField",
    "SlugField",
    "TextField",
    "TimeField",
    "UUIDField",
}

# One term of the order: the expression, the direction, and whether NULL comes first and can occur. `at` is
# its place among the selected columns, or None.
Key = namedtuple("Key", "sql params descending nulls_first nullable at")


class WholeError(Exception):
    """The query can only be read whole.

    The text is the reason; it continues "because it …".
    """


class After:
    """A condition for WHERE: the rows after the one with these values.

    The rows are in the order of the keys.
    """

    contains_aggregate = contains_over_clause = False

    def __init__(self, keys, values):
        self.keys, self.values = keys, values

    def as_sql(self, compiler, connection):
        """Return the condition as SQL.

        A bound of the first key is a condition of its own, so that an index on the key is used.
        """
        condition = None
        for key, value in reversed(list(zip(self.keys, self.values, strict=True))):
            beyond = _compared(key, value, ">")
            if condition is not None:
                same = _and(_equal(key, value), condition)
                condition = same if beyond is None else _or(beyond, same)
            else:
                condition = beyond or ("0", ())
        if len(self.keys) > 1:
            bound = _compared(self.keys[0], self.values[0], ">=")
            condition = condition if bound is None else _and(bound, condition)
        return condition


def _compared(key, value, operator):
    """Return SQL for "the key comes after (`>`), or not before (`>=`), the value".

    Returns None if that holds for no row (`>`), or for every row (`>=`).
    """
    if value is None:
        if operator == ">":
            return (f"{key.sql} IS NOT NULL", key.params) if key.nulls_first else None
        return None if key.nulls_first else (f"{key.sql} IS NULL", key.params)
    if key.descending:
        operator = operator.replace(">", "<")
    compared = f"{key.sql} {operator} %s", (*key.params, value)
    if key.nullable and not key.nulls_first:
        return _or(compared, (f"{key.sql} IS NULL", key.params))
    return compared


def _equal(key, value):
    if value is None:
        return f"{key.sql} IS NULL", key.params
    return f"{key.sql} = %s", (*key.params, value)


def _and(left, right):
    return f"({left[0]} AND {right[0]})", (*left[1], *right[1])


def _or(left, right):
    return f"({left[0]} OR {right[0]})", (*left[1], *right[1])


class PiecewiseSelect(compiler.SQLCompiler):
    """Part of a compiler of SELECT that fetches each chunk with its own statement.

    It applies with `chunked_fetch`; a chunk has `chunk_size` rows.
    """

    _keys = None
    _after = None

    def execute_sql(self, result_type=MULTI, chunked_fetch=False, chunk_size=GET_ITERATOR_CHUNK_SIZE):
        reason = None
        if chunked_fetch and result_type == MULTI and self.connection.features.can_use_chunked_reads:
            try:
                return self._in_pieces(chunk_size)
            except WholeError as error:
                reason = str(error)
        try:
            return super().execute_sql(result_type, chunked_fetch, chunk_size)
        except DataError as error:
            if result_type == MULTI and _is_answer_too_large(error):
                raise DataError(_way_out(reason)) from error.__cause__
            raise

    def _in_pieces(self, chunk_size):
        """Return an iterator over lists of rows, after fetching the first list.

        Raises WholeError.
        """
        whole = self.query
        refuse_shape(whole)
        self._keys = []
        fetch = _Fetch(whole.low_mark, whole.high_mark, chunk_size)
        try:
            first = self._piece(whole, fetch)
        except (WholeError, NotSupportedError) as error:
            self.query, self._keys = whole, None
            if isinstance(error, WholeError):
                raise
            # The key beside the requested columns is one column too many.
            raise WholeError("has as many columns as a result may have") from error
        return self._pieces(whole, fetch, first)

    def _pieces(self, whole, fetch, rows):
        while rows:
            yield rows
            # Release the rows before the next ones come.
            rows = None
            if fetch.is_over:
                return
            rows = self._piece(whole, fetch)

    def _piece(self, whole, fetch):
        """Fetch the next rows, fewer if they are too large for one answer."""
        while True:
            # Setting a query up counts its joins, so each chunk needs a fresh one.
            self.query = whole.clone()
            self.query.clear_limits()
            self.query.set_limits(fetch.low, fetch.low + fetch.wanted)
            try:
                cursor = super().execute_sql(CURSOR)
            except DataError as error:
                if not _is_answer_too_large(error) or fetch.size == 1:
                    raise
                fetch.shrink()
                continue
            if cursor is None:
                return []
            sentinel = self.connection.features.empty_fetchmany_value
            rows = list(chain.from_iterable(compiler.cursor_iter(cursor, sentinel, None, fetch.chunk_size)))
            fetch.note(rows)
            if rows:
                self._after = After(self._keys, self._values(rows[-1]))
            return [row[: self.col_count] for row in rows] if self.has_extra_select else rows

    def _values(self, row):
        """Return the keys of a row as it came."""
        at = [key.at for key in self._keys]
        packed = map(value_of, chain.from_iterable(json.loads(row[-1]))) if None in at else iter(())
        return [next(packed) if place is None else row[place] for place in at]

    def get_order_by(self):
        order_by = super().get_order_by()
        if self._keys is None:
            return order_by
        expressions = [_bare(order.expression) for order, _ in order_by]
        descending = order_by[-1][0].descending if order_by else not self.query.standard_ordering
        for column in identity(self.query):
            if column not in expressions:
                order_by.append((OrderBy(column, descending), self._order_sql(column, descending)))
        return order_by

    def _order_sql(self, column, descending):
        sql, params = self.compile(column)
        return f"{sql} {'DESC' if descending else 'ASC'}", params, False

    def pre_sql_setup(self, with_col_aliases=False):
        extra_select, order_by, group_by = super().pre_sql_setup(with_col_aliases)
        if self._keys is None:
            return extra_select, order_by, group_by
        refuse_rows(self, order_by)
        self._keys = [key for order, _ in order_by for key in self._order_keys(order)]
        packed = [(key.sql, key.params) for key in self._keys if key.at is None]
        if packed:
            extra_select = [*extra_select, (None, literals(packed), None)]
            self.has_extra_select = True
        if self._after is not None:
            self._after.keys = self._keys
            self.where = WhereNode([*filter(None, [self.where]), self._after], AND)
        return extra_select, order_by, group_by

    def _order_keys(self, order):
        expression = _bare(order.expression)
        nulls_first = order.nulls_first or (not order.nulls_last and not order.descending)
        columns = expression.get_cols() if isinstance(expression, ColPairs) else [expression]
        for column in columns:
            sql, params = self.compile(column)
            if len(sql) > LONGEST_TERM:
                raise WholeError("is ordered by a very long expression")
            nullable = not (
                isinstance(column, Col) and not column.target.null and column.alias == self.query.base_table
            )
            yield Key(f"({sql})", tuple(params), order.descending, nulls_first, nullable, self._place(column))

    def _place(self, column):
        """Return where the column is selected as it is stored, or None."""
        stored = isinstance(column, Col) and self.connection.ops._stored_type(column.target) in AS_STORED
        if not stored or len(self.select) >= COLUMNS - 1:
            return None
        return next((at for at, (selected, _, _) in enumerate(self.select) if selected == column), None)


class _Fetch:
    """How many rows to request, and whether there may be more."""

    def __init__(self, low, high, chunk_size):
        self.low = low
        self.left = None if high is None else high - low
        self.chunk_size = chunk_size
        self.most = self.size = min(max(chunk_size, LEAST_ROWS), MOST_ROWS)
        self.is_over = False

    @property
    def wanted(self):
        return self.size if self.left is None else min(self.size, self.left)

    def shrink(self):
        """Request fewer rows, because the answer would have been too large."""
        self.size = max(1, self.size // 8)

    def note(self, rows):
        """Record the rows that came, and choose how many to request next."""
        self.is_over = len(rows) < self.wanted
        if self.left is not None:
            self.left -= len(rows)
            self.is_over = self.is_over or self.left <= 0
        self.low = 0
        sample = rows[:: max(1, len(rows) // SAMPLES)]
        if sample:
            weight = sum(_weight(value) for row in sample for value in row)
            fitting = PIECE_BYTES * len(sample) // max(weight, 1)
            self.size = max(1, min(fitting, self.size * 4, self.most))


def _weight(value):
    return len(value) if isinstance(value, str | bytes) else 8


def _bare(expression):
    """Return the expression behind an ordering by a selected column's place or name."""
    while isinstance(expression, Ref):
        expression = expression.source
    return expression


def _is_answer_too_large(error):
    cause = error.__cause__
    # If the request itself is too large, no step has failed.
    return getattr(cause, "kind", None) == "too_large" and cause.step is not None


def _way_out(reason):
    start = "The answer is larger than the relay allows (30 MB). "
    if reason is None:
        return start + (
            "Read it with iterator(), which fetches it in chunks. Or request fewer rows, or fewer "
            "columns with only(), defer() or values()."
        )
    return start + (
        f"iterator() cannot fetch this query in chunks, because it {reason}. Request fewer rows or "
        "columns, or change that."
    )


# Which queries can be read in chunks.


def refuse_shape(query):
    """Raise WholeError if the rows have no key of their own or no known order."""
    for is_so, reason in (
        (query.combinator, f"is a {query.combinator}"),
        (query.distinct_fields, "has distinct() on some fields"),
        (query.extra_tables or query.extra_order_by, "has tables or an order from extra()"),
        (query.subquery, "is part of another query"),
    ):
        if is_so:
            raise WholeError(reason)


def many_valued(query):
    """Return the joins that may yield several rows for one row of the model.

    Joins on those joins are among them.
    """
    found = {}
    for alias, join in query.alias_map.items():
        if not query.alias_refcount[alias] or join.join_type is None:
            continue
        field = join.join_field
        if join.parent_alias in found or not (field.many_to_one or field.one_to_one):
            found[alias] = join
    return found


def identity(query):
    """Return the columns that identify the query's rows. Raises WholeError."""
    alias = query.get_initial_alias()
    columns = [field.get_col(alias) for field in query.get_meta().pk_fields]
    if query.distinct or query.group_by is not None:
        return columns
    for alias, join in many_valued(query).items():
        meta = join.join_field.related_model._meta
        if meta.db_table != join.table_name:
            raise WholeError("joins a table without a model")
        columns += [field.get_col(alias) for field in meta.pk_fields]
    return columns


def refuse_rows(compiler, order_by):
    """Raise WholeError if the rows lack the identity or a plain order.

    A plain order is one by values only.
    """
    query = compiler.query
    ordered = [_bare(order.expression) for order, _ in order_by]
    selected = [expression for expression, _, _ in compiler.select]
    if compiler.qualify or any(item.contains_over_clause for item in (*ordered, *selected) if item):
        raise WholeError("has window functions")
    if any(item.contains_aggregate for item in ordered):
        raise WholeError("is ordered by an aggregate")
    if any(isinstance(part, Random | RawSQL | Now) for item in ordered for part in item.flatten()):
        raise WholeError("is ordered at random, by raw SQL or by the present time")
    if not (query.distinct or query.group_by is not None):
        return
    several = many_valued(query)
    keys = identity(query)
    grouped = [] if query.group_by in (None, True) else list(query.group_by)
    plain = [item for item in (*selected, *grouped) if not (item and item.contains_aggregate)]
    if not all(isinstance(item, Col) and item.alias not in several for item in (*plain, *ordered)):
        raise WholeError("uses distinct() or groups by more than columns of its model")
    if not all(key in (grouped or selected) for key in keys):
        raise WholeError("uses distinct() or groups without its primary key")
