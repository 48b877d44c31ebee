"""Lookups that would exceed a limit of the runtime: long lists and long patterns."""

import datetime
import decimal
import json
import math

from django.db.models import lookups
from django.db.models.expressions import Value
from django.db.models.fields.tuple_lookups import TupleIn

from do_bridge.driver.limits import PATTERN_BYTES

from .functions.expressions import compiled, refuse, register
from .functions.fragments import Fragment, fill

# Up to this many values stand in the list one by one; more travel as one JSON parameter.
SHORT_LIST = 50
INT64 = 2**63
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class NotJSONError(Exception):
    """A parameter that JSON cannot carry exactly; it has to travel as one of its own."""


def json_value(value):
    """Return the parameter as JSON carries it to SQLite with its type.

    Raises NotJSONError.
    """
    if type(value) is int and -INT64 <= value < INT64:
        return value
    if value is None or isinstance(value, str):
        if value and "\x00" in value:
            raise NotJSONError
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not -INT64 <= value < INT64:
            raise NotJSONError
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise NotJSONError


def json_text(values):
    """Return JSON text for SQLite, as short as it can be."""
    return _encode(values)


def in_schema(compiler):
    """Return whether the SQL is for a constraint or an index.

    SQLite allows no subquery there.
    """
    return not compiler.query.alias_cols


# Lists.


@register(lookups.In)
def in_list(self, compiler, connection):
    sql, params = self.as_sql(compiler, connection)
    if not self.rhs_is_direct_value() or in_schema(compiler):
        return sql, params
    # The list comes last, and holds only placeholders unless the field gives each value an expression.
    lhs, operator, values = sql.rpartition(" IN ")
    count = values.count("%s")
    if count <= SHORT_LIST or values != f"({', '.join(['%s'] * count)})":
        return sql, params
    split = len(params) - count
    try:
        text = json_text([json_value(value) for value in params[split:]])
    except NotJSONError:
        return sql, params
    # The plus removes json_each's affinity, so that the left side's decides, as for a list.
    return f"{lhs}{operator}(SELECT +value FROM json_each(%s))", (*params[:split], text)  # noqa: S608


@register(TupleIn)
def tuple_in_list(self, compiler, connection):
    if not self.rhs_is_direct_value():
        return self.as_sql(compiler, connection)
    try:
        rows = [row for row in map(_json_row(self, compiler), self.rhs) if None not in row]
    except NotJSONError:
        return self.get_fallback_sql(compiler, connection)
    if not rows or in_schema(compiler):
        return self.get_fallback_sql(compiler, connection)
    (lhs,) = compiled(compiler, self.lhs)
    columns = ", ".join(f"value ->> {index}" for index in range(len(self.lhs)))
    lhs_sql = lhs.sql if lhs.sql.startswith("(") else f"({lhs.sql})"
    sql = f"{lhs_sql} IN (SELECT {columns} FROM json_each(%s))"  # noqa: S608
    return Fragment(sql, (*lhs.params, json_text(rows)))


def _json_row(self, compiler):
    """Return a function that returns a tuple of lookup values as a list for JSON."""
    columns = list(self.lhs)

    def row(values):
        result = []
        for column, value in zip(columns, values, strict=True):
            if hasattr(value, "as_sql"):
                raise NotJSONError
            sql, params = compiler.compile(Value(value, output_field=column.output_field))
            if value is not None and (sql != "%s" or len(params) != 1):
                raise NotJSONError
            result.append(None if value is None else json_value(params[0]))
        return result

    return row


# Patterns. LIKE ignores the case of ASCII letters, which is what lower() folds.

CONTAINS = "instr(lower({lhs}), lower({rhs})) > 0"
STARTS_WITH = "instr(lower({lhs}), lower({rhs})) = 1"
ENDS_WITH = "substr(lower({lhs}), length({lhs}) - length({rhs}) + 1) = lower({rhs})"
EQUALS = "lower({lhs}) = lower({rhs})"


def unescaped(pattern, before, after):
    """Return the text that a LIKE pattern made by Django looks for."""
    end = len(pattern) - len(after)
    pattern = pattern[len(before) : end]
    return pattern.replace(r"\%", "%").replace(r"\_", "_").replace("\\\\", "\\")


def _pattern(template, before, after):
    def as_remote_sqlite(self, compiler, connection):
        lhs = Fragment(*map(_as_is, self.process_lhs(compiler, connection)))
        rhs_sql, rhs_params = self.process_rhs(compiler, connection)
        if not self.rhs_is_direct_value() or self.bilateral_transforms:
            return fill(template, lhs=lhs, rhs=(rhs_sql, tuple(rhs_params)))
        pattern = rhs_params[-1] if rhs_params else None
        if not isinstance(pattern, str) or len(pattern.encode()) <= PATTERN_BYTES or rhs_sql != "%s":
            return self.as_sql(compiler, connection)
        return fill(template, lhs=lhs, rhs=("%s", (unescaped(pattern, before, after),)))

    return as_remote_sqlite


def _as_is(part):
    return tuple(part) if isinstance(part, list) else part


register(lookups.Contains)(_pattern(CONTAINS, "%", "%"))
register(lookups.StartsWith)(_pattern(STARTS_WITH, "", "%"))
register(lookups.EndsWith)(_pattern(ENDS_WITH, "%", ""))
register(lookups.IExact)(_pattern(EQUALS, "", ""))


@register(lookups.Regex)
def regex(self, compiler, connection):
    refuse(
        f"The {self.lookup_name!r} lookup",
        "Use contains, startswith, endswith or iexact, or narrow the rows with them and match in Python.",
    )
