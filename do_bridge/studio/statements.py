"""SQL as libSQL's clients write it.

The module handles their parameters and texts of several statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from do_bridge.driver.sql import bare, is_several, shape_of, tokens

from .values import Refusal

# ROLLBACK TRANSACTION TO SAVEPOINT name
_LONGEST_CONTROL: Final = 5
_QUOTES: Final = frozenset("'\"`[")
_SIGNS: Final = frozenset("?:@$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A place for a value: its number from 1, and its name with its sign, or None."""

    number: int
    name: str | None
    start: int
    end: int


def parameters(sql: str) -> list[Parameter]:
    """Return the places for values, numbered as SQLite numbers them.

    https://www.sqlite.org/lang_expr.html#varparam
    """
    found: list[Parameter] = []
    numbers: dict[str, int] = {}
    last = 0
    for start, end in _places(sql):
        text = sql[start:end]
        if text[0] == "?" and text[1:]:
            number = int(text[1:])
        elif text == "?":
            number = last + 1
        else:
            number = numbers.setdefault(text, last + 1)
        last = max(last, number)
        found.append(Parameter(number, None if text == "?" else text, start, end))
    return found


def _places(sql: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each parameter, outside texts, comments and quoted names."""
    words = [(text, end - len(text), end) for text, _, end in tokens(sql)]
    for at, (text, start, end) in enumerate(words):
        if text not in _SIGNS or (start and (sql[start - 1].isalnum() or sql[start - 1] == "_")):
            continue
        follows = words[at + 1] if at + 1 < len(words) else ("", -1, -1)
        is_word = follows[1] == end and (follows[0][:1].isalnum() or follows[0][:1] == "_")
        if text == "?":
            yield start, follows[2] if is_word and follows[0].isdecimal() else end
        elif is_word:
            yield start, follows[2]


def bound(sql: str, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, list[Any] | None]:
    """Return (sql, params) for the driver, which writes each place as %s.

    A place without a value is NULL, as in SQLite. Raises Refusal.
    """
    places = parameters(sql)
    if len(args) > max((place.number for place in places), default=0):
        raise Refusal("The statement has fewer parameters than values were given.", "ARGS_INVALID")
    if not places:
        return sql, None
    pieces, values, at = [], [], 0
    for place in places:
        # Spaces, because a percent sign before %s would hide it.
        pieces += [sql[at : place.start].replace("%", "%%"), " %s "]
        values.append(_value_of(place, args, named))
        at = place.end
    pieces.append(sql[at:].replace("%", "%%"))
    return "".join(pieces), values


def _value_of(place: Parameter, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    if place.name is not None:
        for name in (place.name, place.name[1:]):
            if name in named:
                return named[name]
    return args[place.number - 1] if place.number <= len(args) else None


def single(sql: str) -> str:
    """Return one statement without what follows it. Raises Refusal for several ones."""
    if is_several(sql):
        raise Refusal("The text holds more than one statement.", "SQL_MANY_STATEMENTS")
    return bare(sql)


def split(sql: str) -> Iterator[str]:
    """Yield the statements of a text; a trigger's body is part of its statement."""
    start = 0
    for text, _, end in tokens(sql):
        if text == ";" and sqlite3.complete_statement(sql[start:end]):
            if shape_of(sql[start:end]).verb:
                yield bare(sql[start:end]).strip()
            start = end
    if shape_of(sql[start:]).verb:
        yield bare(sql[start:]).strip()


def words_of(sql: str) -> list[str]:
    """Return the first words of a statement, in upper case.

    A quoted name is without its quotes.
    """
    found: list[str] = []
    start = 0
    for text, _, end in tokens(sql):
        word = sql[sql.index(text, start) + 1 : end - 1] if text in _QUOTES else text
        found.append(word.upper())
        if len(found) == _LONGEST_CONTROL:
            break
        start = end
    return found
