"""Express Django's expressions in functions that the runtime has.

They are `as_remote_sqlite` methods for the compiler.
"""

from django.core.exceptions import FieldError
from django.db import NotSupportedError, models
from django.db.models import Case, StdDev, Variance, When, functions
from django.db.models.expressions import Combinable, DurationExpression, Window
from django.db.models.functions.datetime import Extract, TruncBase

from do_bridge import django_compat
from do_bridge.driver.limits import chunks

from . import datetimes as dates
from .fragments import Fragment, fill
from .zones import split_offset


def refuse(feature, instead):
    """Raise NotSupportedError for what the runtime lacks, before anything is sent."""
    raise NotSupportedError(
        f"{feature} is not supported by SQLite on Cloudflare, which does not allow added functions. {instead}"
    )


def compiled(compiler, *expressions):
    """Compile each expression to a Fragment."""
    return [Fragment(sql, tuple(params)) for sql, params in map(compiler.compile, expressions)]


def register(*classes):
    """Make the decorated function the `as_remote_sqlite` of these expression classes."""

    def decorator(method):
        for cls in classes:
            cls.as_remote_sqlite = method
        return method

    return decorator


def numeric(expression, fragment):
    """Return the fragment, cast to NUMERIC if the expression is a DecimalField.

    Django's sqlite3 backend casts in the same way.
    """
    try:
        decimal = expression.output_field.get_internal_type() == "DecimalField"
    except FieldError:
        decimal = False
    return fill("CAST({x} AS NUMERIC)", x=fragment) if decimal else fragment


# Mathematics: https://www.sqlite.org/lang_mathfunc.html without `power` and `log10`.


@register(functions.Power)
def power(self, compiler, connection, **extra):
    return self.as_sqlite(compiler, connection, function="POW", **extra)


@register(functions.Ceil)
def ceil(self, compiler, connection, **extra):
    return self.as_sqlite(compiler, connection, function="CEIL", **extra)


@register(functions.Cot)
def cot(self, compiler, connection, **extra):
    return self.as_sqlite(compiler, connection, template="(1.0 / TAN(%(expressions)s))", **extra)


@register(functions.Random)
def random(self, compiler, connection, **extra):
    # SQLite's random() is a signed 64-bit integer; Django's is in [0, 1).
    template = "((random() >> 11) / 9007199254740992.0 + 0.5)"
    return self.as_sql(compiler, connection, template=template, **extra)


def combined_expression(self, compiler, connection, **extra):
    if self.connector != Combinable.BITXOR:
        return self.as_sqlite(compiler, connection, **extra)
    lhs, rhs = compiled(compiler, self.lhs, self.rhs)
    if self.contains_aggregate or self.contains_over_clause or not compiler.query.alias_cols:
        return fill("(({a} | {b}) - ({a} & {b}))", a=lhs, b=rhs)
    # Each nesting would double the SQL.
    named = "(SELECT (do_bridge_a | do_bridge_b) - (do_bridge_a & do_bridge_b) FROM ({row}))"
    return fill(named, row=fill("SELECT {a} AS do_bridge_a, {b} AS do_bridge_b", a=lhs, b=rhs))


# Text.


@register(functions.LPad)
def lpad(self, compiler, connection, **extra):
    text, length, filler = compiled(compiler, *self.get_source_expressions())
    return fill(
        "CASE WHEN {f} IS NULL THEN NULL WHEN length({t}) >= {n} THEN substr({t}, 1, {n}) "
        "ELSE substr(replace(printf('%%*s', {n}, ''), ' ', {f}), 1, {n} - length({t})) || {t} END",
        t=text,
        n=length,
        f=filler,
    )


@register(functions.RPad)
def rpad(self, compiler, connection, **extra):
    text, length, filler = compiled(compiler, *self.get_source_expressions())
    return fill(
        "substr({t} || replace(printf('%%*s', {n}, ''), ' ', {f}), 1, {n})", t=text, n=length, f=filler
    )


@register(functions.Repeat)
def repeat(self, compiler, connection, **extra):
    text, number = compiled(compiler, *self.get_source_expressions())
    # A negative width would pad on the other side.
    return fill(
        "iif({n} IS NULL, NULL, replace(printf('%%*s', max({n}, 0), ''), ' ', {t}))", t=text, n=number
    )


@register(functions.Reverse)
def reverse(self, compiler, connection, **extra):
    if not compiler.query.alias_cols:
        refuse(
            "Reverse() in a constraint, an index or a generated column",
            "Keep the reversed text in a column of its own and fill it in your code.",
        )
    (text,) = compiled(compiler, *self.get_source_expressions())
    return fill(
        "(WITH RECURSIVE r(rest, done) AS (SELECT CAST({t} AS TEXT), '' UNION ALL "
        "SELECT substr(rest, 1, length(rest) - 1), done || substr(rest, -1) FROM r WHERE length(rest) > 0) "
        "SELECT done FROM r WHERE length(rest) = 0)",
        t=text,
    )


@register(
    functions.MD5, functions.SHA1, functions.SHA224, functions.SHA256, functions.SHA384, functions.SHA512
)
def digest(self, compiler, connection, **extra):
    refuse(
        f"{type(self).__name__}()",
        "Compute the digest in Python (hashlib) and store it in a column of its own.",
    )


# Aggregates.

SQUARES = "SUM(({x}) * 1.0 * ({x}))"
SUM_OF_SQUARES = f"({SQUARES} - SUM({{x}}) * 1.0 * SUM({{x}}) / COUNT({{x}}))"
# If the values are far from 0 and close together, their computed spread is mostly rounding. Fail in
# json_extract() rather than return a wrong number.
IMPRECISE = 1e-9
# Values that differ by no more than a float's rounding are the same.
EQUAL = "MAX({x}) - MIN({x}) <= 1e-14 * ABS(MAX({x}))"
IMPRECISE_WORDS = (
    "do_bridge: the values are too close together for their size, so StdDev and Variance would be "
    "imprecise. Subtract a constant near their mean first"
)
SPREAD = (
    f"CASE WHEN {EQUAL} THEN 0.0 WHEN {SUM_OF_SQUARES} < {IMPRECISE} * {SQUARES} "
    f"THEN json_extract('{{{{}}}}', '{IMPRECISE_WORDS}') ELSE {SUM_OF_SQUARES} END"
)


@register(Variance, StdDev)
def variance(self, compiler, connection, **extra):
    expression = self.get_source_expressions()[0]
    connection.ops.check_expression_support(self)
    if (condition := django_compat.filter_condition(self)) is not None:
        expression = Case(When(condition, then=expression))
    (value,) = compiled(compiler, expression)
    count = "COUNT({x})" if self.function.endswith("_POP") else "nullif(COUNT({x}) - 1, 0)"
    template = f"({SPREAD} / {count})"
    if isinstance(self, StdDev):
        template = f"sqrt({template})"
    return numeric(self, fill(template, x=value))


_BIT_AGGREGATES = tuple(django_compat.existing(models, "BitAnd", "BitOr", "BitXor"))


@register(Window)
def window(self, compiler, connection, **extra):
    if isinstance(self.source_expression, (Variance, StdDev)):
        refuse(
            f"{type(self.source_expression).__name__}() as a window function",
            "Compute it from Window(Avg(…)) of the values and of their squares, or aggregate with values().",
        )
    if isinstance(self.source_expression, _BIT_AGGREGATES):
        refuse(f"{type(self.source_expression).__name__}() as a window function", "Aggregate with values().")
    return self.as_sqlite(compiler, connection, **extra)


# Dates and times.


def refuse_zone_in_schema(expression, connection):
    """Refuse a constraint or an index that would need a subquery for a time zone.

    Their SQL has no column aliases.
    """
    wanted = expression.get_tzname() if internal_type(expression.lhs) == "DateTimeField" else None
    if wanted and split_offset(wanted)[0] not in ("", connection.timezone_name):
        refuse(
            f"A constraint, an index or a generated column that reads a datetime in the time zone {wanted}",
            f"Give the expression tzinfo={connection.timezone_name} or set the current time zone "
            f"to {connection.timezone_name}, or keep the part in a column of its own.",
        )


@register(Extract, TruncBase)
def with_zones(self, compiler, connection, **extra):
    if not compiler.query.alias_cols:
        refuse_zone_in_schema(self, connection)
    with connection.ops.zones_inline(self.contains_aggregate or self.contains_over_clause):
        return self.as_sql(compiler, connection, **extra)


def internal_type(expression):
    """Return the expression's field type by name, or None if it has none."""
    try:
        return expression.output_field.get_internal_type()
    except (AttributeError, FieldError):
        return None


# Durations that are added up in one group.
MOVES = 40
TEMPORAL = ("DateTimeField", "DateField", "TimeField")


def moved_moment(expression):
    """Return (moment, connector, duration) of a moment moved by a duration.

    Returns None for other arithmetic.
    """
    if isinstance(expression, DurationExpression) and expression.connector in (
        Combinable.ADD,
        Combinable.SUB,
    ):
        sides = [expression.lhs, expression.rhs]
        for moment, duration in (sides, sides[::-1]):
            if internal_type(moment) in TEMPORAL:
                return moment, expression.connector, duration
    return None


def total_duration(compiler, expression):
    """Return the datetime where a chain of moves starts, and their total duration.

    The duration is a Fragment, one sum for the whole chain: each move names its moment eight times, and a
    chain would grow by that factor.
    """
    moves = []
    while not moves or (internal_type(expression) == "DateTimeField" and moved_moment(expression)):
        expression, connector, duration = moved_moment(expression)
        (fragment,) = compiled(compiler, duration)
        moves.append(fill(f"{connector} ({{d}})", d=fragment))
    # In groups, because a sum of n terms is n levels deep.
    groups = chunks(moves, MOVES)
    sums = [f"(0 {' '.join(move.sql for move in group)})" for group in groups]
    return expression, Fragment(" + ".join(sums), tuple(value for move in moves for value in move.params))


def duration_expression(self, compiler, connection, **extra):
    if moved_moment(self) is None:
        return self.as_sqlite(compiler, connection, **extra)
    connection.ops.check_expression_support(self)
    moment, connector, duration = moved_moment(self)
    if internal_type(moment) == "DateField":
        return dates.add_duration_to_date(
            *compiled(compiler, moment), connector, *compiled(compiler, duration)
        )
    moment, duration = total_duration(compiler, self)
    result = dates.add_duration(*compiled(compiler, moment), "+", duration)
    return fill("substr({t}, 12)", t=result) if internal_type(moment) == "TimeField" else result
