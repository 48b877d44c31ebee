"""Read infinities in results.

D1 returns them as NULL, so columns that may hold one are selected as text.
"""

from django.db.models import Avg, Subquery
from django.db.models.expressions import Ref
from django.db.models.sql import Query

from do_bridge.backends.remote_sqlite.functions.expressions import internal_type
from do_bridge.backends.remote_sqlite.functions.fragments import fill

REAL_TYPES = frozenset({"FloatField", "DecimalField"})
_READABLE = "CASE {x} WHEN 9e999 THEN 'Inf' WHEN -9e999 THEN '-Inf' ELSE {x} END"


def number(value):
    """Return the float of an infinity's text, and any other value as it is."""
    return float(value) if value in ("Inf", "-Inf") else value


def _may_be_infinite(expression):
    """Whether the expression is a real number, other than the average of integers."""
    if internal_type(expression) not in REAL_TYPES:
        return False
    sources = expression.get_source_expressions() if isinstance(expression, Avg) else [expression]
    return any(internal_type(source) in REAL_TYPES for source in sources if source is not None)


def readable(expression, sql, params):
    """Return (sql, params) of a selected expression, as text if it is an infinity."""
    if not _may_be_infinite(expression):
        return sql, params
    value = (sql, tuple(params))
    if any(isinstance(part, Subquery | Query) for part in expression.flatten()):
        # Computed once.
        named = fill(_READABLE, x=("x", ()))
        return tuple(fill("(SELECT {named} FROM (SELECT {x} AS x))", named=named, x=value))
    return tuple(fill(_READABLE, x=value))


class ReadableSelect:
    """Part of a compiler of SELECT."""

    def pre_sql_setup(self, with_col_aliases=False):
        extra_select, order_by, group_by = super().pre_sql_setup(with_col_aliases)
        # Another query computes with a subquery's values; a combined query has its parts' columns.
        if not self.query.subquery and not self.query.combinator:
            # By place or name they would be ordered as texts.
            order_by = [self._by_value(*item) for item in order_by]
            self.select = [
                (expression, readable(expression, *sql) if expression else sql, alias)
                for expression, sql, alias in self.select
            ]
        return extra_select, order_by, group_by

    def _by_value(self, order, sql):
        """Return the item of an ORDER BY without a reference to a real number.

        The expression replaces the reference.
        """
        reference = order.expression
        if not isinstance(reference, Ref) or internal_type(reference) not in REAL_TYPES:
            return order, sql
        order = order.copy()
        order.set_source_expressions([reference.source])
        return order, (*self.compile(order), sql[2])

    def get_combinator_sql(self, combinator, all):
        queries = self.query.combined_queries
        if not self.query.subquery:
            return super().get_combinator_sql(combinator, all)
        parts = tuple(query.clone() for query in queries)
        for part in parts:
            part.subquery = True
        self.query.combined_queries = parts
        try:
            return super().get_combinator_sql(combinator, all)
        finally:
            self.query.combined_queries = queries


class ReadableAggregates:
    """Part of a compiler of aggregates over another query."""

    def compile(self, node):
        sql, params = super().compile(node)
        if any(node is selected for selected in self.query.annotation_select.values()):
            return readable(node, sql, params)
        return sql, params
