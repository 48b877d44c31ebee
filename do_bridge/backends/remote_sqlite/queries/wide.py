"""Run queries for more columns than a result may have.

The last columns are sent as one JSON text.
"""

import json
from itertools import chain

from django.db import NotSupportedError
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE, MULTI

from do_bridge.backends.remote_sqlite.functions.fragments import fill
from do_bridge.driver.limits import ARGUMENTS, COLUMNS, chunks

# quote() would end a text at a NUL.
LITERAL = "CASE typeof({c}) WHEN 'text' THEN 't' || hex({c}) ELSE quote({c}) END"


class WideSelect:
    """Part of a compiler of SELECT that packs columns beyond the limit.

    `self.select` is whole except while the SQL is written.
    """

    #: How many columns travel by themselves while the others are packed; None without packed ones.
    alone = None
    _whole = None

    def as_sql(self, with_limits=True, with_col_aliases=False):
        try:
            return super().as_sql(with_limits, with_col_aliases)
        finally:
            if self._whole is not None:
                self.select, self._whole = self._whole, None

    def pre_sql_setup(self, with_col_aliases=False):
        extra_select, order_by, group_by = super().pre_sql_setup(with_col_aliases)
        if len(order_by) > COLUMNS:
            raise NotSupportedError(
                f"The query is ordered by {len(order_by)} terms, and SQLite on Cloudflare allows "
                f"{COLUMNS}. Order by fewer: terms after a unique column change nothing."
            )
        self.alone = None
        if len(self.select) + len(extra_select) > COLUMNS:
            self.alone = COLUMNS - 1 - len(extra_select)
            inner = self.query.subquery or self.query.combinator or with_col_aliases
            if inner or group_by or any(map(self._is_packed, order_by)):
                self._refuse(len(self.select))
            self._whole, self.select = self.select, [*self.select[: self.alone], self._packed()]
        return extra_select, order_by, group_by

    def _is_packed(self, order):
        """Whether an ordering refers to a column by a position that it will not have."""
        return getattr(order[0].expression, "ordinal", 0) > self.alone

    @staticmethod
    def _refuse(count):
        raise NotSupportedError(
            f"The query selects {count} columns. SQLite on Cloudflare allows {COLUMNS} if rows are "
            "grouped, combined, part of another query, or ordered by one of the last columns. "
            "Select fewer with only(), defer() or values(), or use prefetch_related() instead of "
            "select_related()."
        )

    def _packed(self):
        return None, literals(column for _, column, _ in self.select[self.alone :]), None

    def results_iter(
        self,
        results=None,
        tuple_expected=False,
        chunked_fetch=False,
        chunk_size=GET_ITERATOR_CHUNK_SIZE,
    ):
        if results is None:
            results = self.execute_sql(MULTI, chunked_fetch, chunk_size)
        if self.alone is not None:
            results = ([self._unpacked(row) for row in rows] for rows in results)
        return super().results_iter(results, tuple_expected, chunked_fetch, chunk_size)

    def _unpacked(self, row):
        arrays = json.loads(row[self.alone])
        return (*row[: self.alone], *map(value_of, chain.from_iterable(arrays)))


def literals(columns):
    """Return one column that holds the columns' values as literals.

    It is a JSON array of arrays; see value_of().
    """
    texts = [fill(LITERAL, c=column) for column in columns]
    return _json_array([_json_array(part) for part in chunks(texts, ARGUMENTS)])


def _json_array(parts):
    names = [f"p{number}" for number in range(len(parts))]
    template = ", ".join(f"{{{name}}}" for name in names)
    return fill(f"json_array({template})", **dict(zip(names, parts, strict=True)))


def value_of(literal):
    """Return the value of a literal that LITERAL gave."""
    kind = literal[0]
    if kind == "t":
        return bytes.fromhex(literal[1:]).decode()
    if kind == "X":
        return bytes.fromhex(literal[2:-1])
    if kind == "N":
        return None
    try:
        return int(literal)
    except ValueError:
        return float(literal)
