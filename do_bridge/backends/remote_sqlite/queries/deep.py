"""Regroup expressions that would exceed 100 levels of depth or 32 arguments.

These are limits of the runtime. A chain of n operators, as `a OR b OR c`, is n levels deep; in groups of 40
it is hardly deeper than 40.
"""

import copy
from contextlib import contextmanager

from django.db.models import Aggregate, functions
from django.db.models.expressions import (
    Combinable,
    CombinedExpression,
    DurationExpression,
    TemporalSubtraction,
)
from django.db.models.functions.text import ConcatPair
from django.db.models.sql.where import ExtraWhere, WhereNode

from do_bridge.backends.remote_sqlite.functions.expressions import (
    combined_expression,
    compiled,
    duration_expression,
    moved_moment,
    numeric,
    register,
)
from do_bridge.backends.remote_sqlite.functions.fragments import Fragment, fill
from do_bridge.driver.limits import ARGUMENTS, chunks

# Operators that follow each other without parentheses; the expression around them may be deep itself.
CHAIN = 40


# Conditions


@register(WhereNode)
def where(self, compiler, connection):
    return grouped(self).as_sql(compiler, connection)


def grouped(node):
    """Return a condition of many terms as one of groups of terms."""
    if len(node.children) <= CHAIN:
        return node
    # An odd number of true terms, XOR, is an odd number of groups with an odd number of them.
    groups = [node.create(part, node.connector) for part in chunks(node.children, CHAIN)]
    made = node.create(groups, node.connector, node.negated)
    made.resolved = node.resolved
    return grouped(made)


def with_grouped_filter(aggregate):
    """Return an aggregate with a grouped filter.

    Django 5.2 compiles the filter without calling the registered method.
    """
    if not isinstance(aggregate, Aggregate) or type(aggregate.filter) is not WhereNode:
        return aggregate
    made = aggregate.copy()
    made.filter = grouped(aggregate.filter)
    return made


class GroupedCondition:
    """A replacement for the condition of an index or a constraint.

    Django makes the text of such a condition by calling as_sql().
    """

    conditional = True

    def __init__(self, condition):
        self.condition = condition

    def resolve_expression(self, query, *args, **kwargs):
        """Return the condition, which the query then takes for one term."""
        return query.build_where(self.condition)


def with_grouped_condition(item):
    """Return an index or a constraint whose condition may have many terms."""
    if getattr(item, "condition", None) is None:
        return item
    made = copy.copy(item)
    made.condition = GroupedCondition(item.condition)
    return made


class GroupsConditions:
    """Part of a schema editor."""

    def add_index(self, model, index):
        super().add_index(model, with_grouped_condition(index))

    def add_constraint(self, model, constraint):
        super().add_constraint(model, with_grouped_condition(constraint))

    def table_sql(self, model):
        with self._grouping(model):
            return super().table_sql(model)

    def _model_indexes_sql(self, model):
        with self._grouping(model):
            return super()._model_indexes_sql(model)

    @staticmethod
    @contextmanager
    def _grouping(model):
        meta = model._meta
        before = meta.indexes, meta.constraints
        meta.indexes, meta.constraints = ([*map(with_grouped_condition, items)] for items in before)
        try:
            yield
        finally:
            meta.indexes, meta.constraints = before


@register(ExtraWhere)
def extra_where(self, compiler, connection):
    sqls = [f"({sql})" for sql in self.sqls]
    while len(sqls) > CHAIN:
        sqls = [f"({' AND '.join(part)})" for part in chunks(sqls, CHAIN)]
    return " AND ".join(sqls), list(self.params or ())


# Arithmetic

# Operators whose operands may be grouped in any way; the operands of a difference keep their signs.
_SUM = frozenset({Combinable.ADD, Combinable.SUB})
_GROUPABLE = (
    _SUM,
    frozenset({Combinable.MUL}),
    frozenset({Combinable.BITAND}),
    frozenset({Combinable.BITOR}),
)


def _terms(expression):
    """Return (operators, terms) of a chain of one kind of operators.

    The terms are [(whether it is subtracted, operand)].
    """
    kind = next((kind for kind in _GROUPABLE if expression.connector in kind), frozenset())
    terms, stack = [], [(False, expression)]
    while stack:
        negative, node = stack.pop()
        if _is_operator(node) and node.connector in kind:
            stack += [(negative ^ (node.connector == Combinable.SUB), node.rhs), (negative, node.lhs)]
        else:
            terms.append((negative, node))
    return kind, terms


def _is_operator(node):
    if isinstance(node, DurationExpression):
        return moved_moment(node) is None
    return isinstance(node, CombinedExpression) and not isinstance(node, TemporalSubtraction)


@register(CombinedExpression)
def long_arithmetic(self, compiler, connection, **extra):
    if not _is_operator(self):
        return self.as_sqlite(compiler, connection, **extra)
    kind, terms = _terms(self)
    if len(terms) <= CHAIN:
        return combined_expression(self, compiler, connection, **extra)
    connection.ops.check_expression_support(self)
    operands = compiled(compiler, *(operand for _, operand in terms))
    if kind is not _SUM:
        return numeric(
            self, _grouped(operands, connection.ops.combine_expression(self.connector, [" ", " "]))
        )
    signed = [
        fill(f"{'-' if negative else '+'} {{x}}", x=operand)
        for (negative, _), operand in zip(terms, operands, strict=True)
    ]
    groups = [_joined(part, " ", "(0 {})") for part in chunks(signed, CHAIN)]
    return numeric(self, _grouped(groups, " + "))


def _grouped(parts, operator):
    """Return one Fragment of many, in groups that are no deeper than necessary."""
    while len(parts) > 1:
        parts = [_joined(part, operator, "({})") for part in chunks(parts, CHAIN)]
    return parts[0]


@register(DurationExpression)
def long_duration(self, compiler, connection, **extra):
    if moved_moment(self) is None:
        return long_arithmetic(self, compiler, connection, **extra)
    return duration_expression(self, compiler, connection, **extra)


# Functions


@register(functions.Coalesce, functions.Greatest, functions.Least)
def of_many(self, compiler, connection, **extra):
    arguments = self.get_source_expressions()
    if len(arguments) <= ARGUMENTS:
        method = getattr(self, "as_sqlite", self.as_sql)
        return method(compiler, connection, **extra)
    groups = []
    for part in chunks(arguments, ARGUMENTS):
        group = self.copy()
        group.set_source_expressions(part)
        groups.append(group if len(part) > 1 else part[0])
    whole = self.copy()
    whole.set_source_expressions(groups)
    return compiler.compile(whole)


@register(ConcatPair)
def concatenation(self, compiler, connection, **extra):
    """Join all texts of Concat(), which Django nests in pairs."""
    texts, pair = [], self
    while isinstance(pair, ConcatPair):
        first, pair = pair.coalesce().get_source_expressions()
        texts.append(first)
        # The second is Coalesce(…, ""), around another pair unless it is the last.
        inner = pair.get_source_expressions()[0]
        pair = inner if isinstance(inner, ConcatPair) else pair
    return _grouped(compiled(compiler, *texts, pair), " || ")


@register(functions.JSONObject)
def json_object(self, compiler, connection, **extra):
    pairs = chunks(self.get_source_expressions(), 2)
    if len(pairs) * 2 <= ARGUMENTS:
        return self.as_sql(compiler, connection, **extra)
    objects = []
    for part in chunks(pairs, ARGUMENTS // 2):
        keys_and_values = compiled(compiler, *(expression for pair in part for expression in pair))
        objects.append(_joined(keys_and_values, ", ", "json_object({})"))
    return _spliced(objects, "{{", "}}")


@register(functions.JSONArray)
def json_array(self, compiler, connection, **extra):
    values = self.get_source_expressions()
    if len(values) <= ARGUMENTS:
        return self.as_sql(compiler, connection, **extra)
    parts = [compiled(compiler, *part) for part in chunks(values, ARGUMENTS)]
    return _spliced([_joined(part, ", ", "json_array({})") for part in parts], "[", "]")


def _spliced(parts, opening, closing):
    """Return the JSON text that has the members of all parts, none of which is empty."""
    # All but the first and the last character; a negative length counts backwards.
    inner = [fill("substr(substr({x}, 2), -1, -2147483647)", x=part) for part in parts]
    members = _joined(inner, " || ',' || ", "{}")
    # The function makes JSON of the text, for functions around it.
    return fill(f"json('{opening}' || {{members}} || '{closing}')", members=members)


def _joined(fragments, separator, around):
    """Return one Fragment of many, with a text between them and around them."""
    sql = around.replace("{}", separator.join(fragment.sql for fragment in fragments))
    return Fragment(sql, tuple(value for fragment in fragments for value in fragment.params))
