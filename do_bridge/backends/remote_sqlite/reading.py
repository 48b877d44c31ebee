"""Read stored values as Django's sqlite3 backend does.

Values that another program has written are read, too. A SQLite column holds any value, whatever its type.
sqlite3 gives Django each value of a column declared as date, time, datetime or bool as text; here values come
with their own types.
"""

from django.db import DataError
from django.db.models import Subquery
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.utils.dateparse import parse_date, parse_datetime, parse_time

KINDS = {
    str: "a text",
    int: "an integer",
    float: "a real number",
    bytes: "a blob",
}
#: Django's internal types of columns that hold integers.
INTEGER_TYPES = frozenset(
    [
        "AutoField",
        "BigAutoField",
        "SmallAutoField",
        "IntegerField",
        "BigIntegerField",
        "SmallIntegerField",
        "PositiveBigIntegerField",
        "PositiveIntegerField",
        "PositiveSmallIntegerField",
        "DurationField",
    ]
)
_BAD_VALUE = (ArithmeticError, AttributeError, TypeError, ValueError)
_OWN_MODULES = ("django.", "do_bridge.")


class UnreadableValue(DataError, ValueError):
    """A column holds a value that its field cannot read.

    The message has the table and the column.
    """


def as_text(value):
    """Return the text that sqlite3 gives for a value of a declared type."""
    if isinstance(value, str):
        return value
    return value.decode() if isinstance(value, bytes) else str(value)


def read_datetime(value):
    """Return the datetime of a stored value, or None if it is not a datetime."""
    return parse_datetime(as_text(value))


def read_date(value):
    """Return the date of a stored value, or None if it is not written as a date."""
    return parse_date(as_text(value))


def read_time(value):
    """Return the time of a stored value, or None if it is not written as a time."""
    return parse_time(as_text(value))


def read_bool(value, expression):
    """Return a stored boolean.

    A value of a column is True if it is 1. Another expression's value, except 0 and 1, stays as it is.
    """
    if value in (1, 0):
        return bool(value)
    if not is_column(expression):
        return value
    # sqlite3 passes no empty value to a converter.
    return value in ("1", b"1") if value not in ("", b"") else None


def is_column(expression):
    """Return whether an expression has a declared type in SQLite.

    A column has one, and so has a subquery that selects only a column.
    """
    if isinstance(expression, Subquery | Query):
        selected = _query_of(expression).select
        return len(selected) == 1 and is_column(selected[0])
    return isinstance(expression, Col)


def _query_of(expression):
    """Return the Query of a subquery.

    Since Django 6.1 a Query may be used as the subquery itself.
    """
    return getattr(expression, "query", expression)


def converted(rows, converters, connection):
    """Yield each row as a list, converted as by Django's compiler.

    `converters` is {position: (functions, expression)}. Raises UnreadableValue for a value that Django's
    fields cannot read; an exception of another package's field gets a note with the column's name.
    """
    converters = list(converters.items())
    for row in map(list, rows):
        for position, (functions, expression) in converters:
            value = row[position]
            try:
                for function in functions:
                    value = function(value, expression, connection)
            except _BAD_VALUE as error:
                _explain(error, function, row[position], expression)
            row[position] = value
        yield row


def _explain(error, function, value, expression):
    """Raise the error for a value that could not be converted."""
    name = _column_name(expression)
    if not (function.__module__ or "").startswith(_OWN_MODULES):
        error.add_note(f"The value comes from {name}.")
        raise error
    field = type(expression.output_field).__name__
    raise UnreadableValue(
        f"{name} holds {KINDS.get(type(value), 'a value')} that {field} cannot read. Another "
        "program may have written it. Find its row with typeof() or Cast(…, TextField()), and "
        "correct it."
    ) from error


def _column_name(expression):
    """Return "table.column" of the first column in an expression."""
    if isinstance(expression, Subquery | Query):
        query = _query_of(expression)
        expression = next(iter((*query.select, *query.annotation_select.values())), expression)
    column = next((part for part in expression.flatten() if isinstance(part, Col)), None)
    if column is None:
        return f"The expression {type(expression).__name__}()"
    return f"{column.target.model._meta.db_table}.{column.target.column}"
