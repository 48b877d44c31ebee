"""Write rows as one ASCII text, exact to the type, in SQL, and read it in Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from do_bridge.driver.exceptions import OperationalError
from do_bridge.driver.sql import Statement, bare

Row = tuple[Any, ...]

# Without quotes, which SQLite would double in a message, and without commas and semicolons inside of values.
_LITERAL: Final = (
    "CASE typeof({c}) WHEN 'text' THEN 't'||hex({c}) WHEN 'blob' THEN 'x'||hex({c}) "
    "WHEN 'null' THEN 'n' ELSE quote({c}) END"
)
# The runtime allows 32 arguments of a function.
_ARGUMENTS: Final = 31
# The order of rows is the read's own, and each value is computed once, even `random()`.
_ROWS: Final = "WITH do_bridge_read({names}) AS MATERIALIZED (\n{sql}\n)"

_DIGITS: Final = "0123456789ABCDEF"
_WEIGHTS: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def row_text(columns: Sequence[str]) -> str:
    """Return the expression that gives a row of these columns as text."""
    return _joined([_LITERAL.format(c=column) for column in columns])


def rows_of(read: Statement, width: int) -> tuple[str, str]:
    """Return the WITH clause for a read's rows, and the expression for a row's text.

    The clause's table is ``do_bridge_read``.
    """
    names = [f"c{index}" for index in range(width)]
    return _ROWS.format(names=", ".join(names), sql=bare(read.sql)), row_text(names)


def text_query(read: Statement, width: int, part: tuple[int, int] | None = None) -> str:
    """Return the query for the text of a read's rows.

    ``part`` is a place and a number of rows (-1: all).
    """
    clause, row = rows_of(read, width)
    source = "do_bridge_read"
    if part is not None:
        source = f"(SELECT * FROM do_bridge_read LIMIT {part[1]} OFFSET {part[0]})"
    return f"{clause} SELECT coalesce(group_concat({row}, ';'), '') FROM {source}"


def checksum_of(column: str) -> str:
    """Return the expression for the checksum of a text in a column."""
    return "+".join(
        f"{weight}*length(replace({column},'{digit}',''))"
        for digit, weight in zip(_DIGITS, _WEIGHTS, strict=True)
    )


def checksum(text: str) -> int:
    """Return what the expression of `checksum_of` gives."""
    return sum(
        weight * (len(text) - text.count(digit)) for digit, weight in zip(_DIGITS, _WEIGHTS, strict=True)
    )


def values(text: str) -> list[Row]:
    """Return the rows of a text. Raises OperationalError if it is not one."""
    if not text:
        return []
    try:
        return [tuple(map(_value, row.split(","))) for row in text.split(";")]
    except ValueError:
        raise unreadable() from None


def unreadable() -> OperationalError:
    """Return the error for an answer that did not come as SQL had written it."""
    return OperationalError(
        "D1 shortened or changed the message that carries an answer out of a rolled-back batch. Nothing was "
        "written. Set OPTIONS['transactions'] to 'none'",
        kind="unreadable",
        effect="ended",
    )


def as_plain(rows: Iterable[Row]) -> list[Row]:
    """Return rows as a plain answer of D1 gives them.

    There, a whole REAL is an integer, and an infinity is NULL.
    """
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        # JSON rounds it, and the driver reads such a value a second time, as text.
        return value if abs(value) < 2**53 else float(value)
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def _value(literal: str) -> Any:
    kind = literal[:1]
    if kind == "t":
        return bytes.fromhex(literal[1:]).decode(errors="replace")
    if kind == "x":
        return bytes.fromhex(literal[1:])
    if literal == "n":
        return None
    try:
        return int(literal)
    except ValueError:
        return float(literal)


def _joined(parts: list[str]) -> str:
    while len(parts) > _ARGUMENTS:
        parts = [_joined(parts[at : at + _ARGUMENTS]) for at in range(0, len(parts), _ARGUMENTS)]
    return parts[0] if len(parts) == 1 else f"concat_ws(',', {', '.join(parts)})"
