"""Write the present time into a statement that will be repeated.

It is the statement's own time, computed once.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

from do_bridge.driver.sql import Statement

from .scanning import Token, scan

_FUNCTIONS: Final = frozenset({"DATE", "TIME", "DATETIME", "JULIANDAY", "UNIXEPOCH", "STRFTIME", "TIMEDIFF"})
_WORDS: Final = {
    "CURRENT_TIMESTAMP": "%Y-%m-%d %H:%M:%S",
    "CURRENT_DATE": "%Y-%m-%d",
    "CURRENT_TIME": "%H:%M:%S",
}
_RANDOM: Final = frozenset({"RANDOM", "RANDOMBLOB"})
_MARKS: Final = ("now", "current_", "()")


def with_moment(statement: Statement) -> Statement:
    """Return the statement with a fixed time for ``'now'`` and ``CURRENT_TIMESTAMP``.

    Otherwise each repetition would compute another value than the one that was returned.
    """
    lower = statement.sql.lower()
    if not any(mark in lower for mark in _MARKS):
        return statement
    now = datetime.datetime.now(datetime.UTC)
    sql, found = statement.sql, scan(statement.sql)
    for place in range(len(found) - 1, -1, -1):
        sql = _replaced(sql, found, place, now)
    return statement if sql == statement.sql else statement._replace(sql=sql)


def is_random(statement: Statement) -> bool:
    """Return whether each repetition of a statement computes other values."""
    if "random" not in statement.sql.lower():
        return False
    found = scan(statement.sql)
    return any(
        token.word in _RANDOM and following.text == "("
        for token, following in zip(found, found[1:], strict=False)
    )


def _replaced(sql: str, found: Sequence[Token], place: int, now: datetime.datetime) -> str:
    token = found[place]
    literal = f"'{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03}'"
    if token.word in _WORDS:
        return f"{sql[: token.start]}'{now.strftime(_WORDS[token.word])}'{sql[token.end :]}"
    if token.text == "'" and sql[token.start : token.end].lower() == "'now'":
        if _function_around(found, place) in _FUNCTIONS:
            return f"{sql[: token.start]}{literal}{sql[token.end :]}"
    elif token.word in _FUNCTIONS and [one.text for one in found[place + 1 : place + 3]] == ["(", ")"]:
        return f"{sql[: found[place + 1].end]}{literal}{sql[found[place + 2].start :]}"
    return sql


def _function_around(found: Sequence[Token], place: int) -> str:
    """Return the function whose argument stands at this place, or an empty text."""
    depth = found[place].depth
    for at in range(place - 1, 0, -1):
        if found[at].text == "(" and found[at].depth == depth - 1:
            return found[at - 1].word
    return ""
