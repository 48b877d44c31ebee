"""Split a statement into tokens with their places.

It also finds a statement's parts at the top level, and the names in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from do_bridge.driver.sql import tokens

_QUOTES: Final = {"'": "'", '"': '"', "`": "`", "[": "]"}
_AFTER_ITEMS: Final = frozenset(
    {"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT"}
)
_END: Final = ";"


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign; ``text`` of a quoted one is its opening mark."""

    text: str
    depth: int
    start: int
    end: int

    @property
    def word(self) -> str:
        """Return the text in upper case."""
        return self.text.upper()


@dataclass(frozen=True, slots=True)
class Item:
    """One term of a select list or of RETURNING.

    It has the SQL without the alias, and the name if that is certain.
    """

    sql: str
    name: str | None
    column: str | None
    """The column that it is, if it is a plain reference."""


@lru_cache(maxsize=500)
def scan(sql: str) -> tuple[Token, ...]:
    """Return the statement's tokens, without comments and semicolons at its end."""
    found, at = [], 0
    for text, depth, end in tokens(sql):
        start = _start(sql, at, end, text)
        found.append(Token(text, depth, start, end))
        at = end
    while found and found[-1].text == _END:
        found.pop()
    return tuple(found)


def name_of(sql: str, token: Token) -> str:
    """Return the name that a token is, without its quotes."""
    if token.text in _QUOTES:
        mark = _QUOTES[token.text]
        return sql[token.start + 1 : token.end - 1].replace(mark * 2, mark)
    return token.text


def names_something(token: Token) -> bool:
    """Return whether the token is a word or a quoted name."""
    return token.text in '"`[' or token.text[0].isalpha() or token.text[0] == "_"


def find(found: Sequence[Token], *words: str, start: int = 0) -> int | None:
    """Return the place of the first of these words at the top level, or None."""
    for place in range(start, len(found)):
        if found[place].depth == 0 and found[place].word in words:
            return place
    return None


def select_items(sql: str) -> list[Item] | None:
    """Return the terms of a SELECT's list; None if a star, or VALUES, hides them."""
    found = scan(sql)
    place = find(found, "SELECT", "VALUES")
    if place is None:
        return None
    if found[place].word == "VALUES":
        return _values_items(sql, found, place)
    first = place + 1
    if first < len(found) and found[first].word in ("DISTINCT", "ALL"):
        first += 1
    last = find(found, *_AFTER_ITEMS, start=first)
    return items(sql, found[first : len(found) if last is None else last])


def items(sql: str, found: Sequence[Token]) -> list[Item] | None:
    """Return the terms that the tokens hold, or None if one is a star.

    Commas separate the terms.
    """
    terms: list[list[Token]] = [[]]
    depth = found[0].depth if found else 0
    for token in found:
        if token.text == "," and token.depth == depth:
            terms.append([])
        else:
            terms[-1].append(token)
    if any(not term or term[-1].text == "*" for term in terms):
        return None
    return [_item(sql, term) for term in terms]


def _values_items(sql: str, found: Sequence[Token], place: int) -> list[Item]:
    depth = found[place].depth + 1
    commas = 0
    for token in found[place + 2 :]:
        if token.text == ")" and token.depth == depth - 1:
            break
        commas += token.text == "," and token.depth == depth
    return [Item("", f"column{number + 1}", None) for number in range(commas + 1)]


def _item(sql: str, term: list[Token]) -> Item:
    text = sql[term[0].start : term[-1].end]
    column = _column(sql, term)
    if column is not None:
        return Item(text, column, column)
    if len(term) > 2 and term[-2].word == "AS" and term[-2].depth == term[-1].depth:
        plain = _column(sql, term[:-2])
        return Item(sql[term[0].start : term[-3].end], name_of(sql, term[-1]), plain)
    # `expression name` and `a IS NULL` look alike.
    certain = not names_something(term[-1]) or len(term) == 1
    return Item(text, text if certain else None, None)


def _column(sql: str, term: list[Token]) -> str | None:
    names = term[::2]
    if len(term) not in (1, 3, 5) or not all(map(names_something, names)):
        return None
    if any(token.text != "." for token in term[1::2]):
        return None
    if len(term) == 1 and term[0].word in ("NULL", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"):
        return None
    return name_of(sql, term[-1])


def _start(sql: str, at: int, end: int, text: str) -> int:
    if text not in _QUOTES:
        return end - len(text)
    while at < end:
        if sql.startswith("--", at):
            at = _after(sql, "\n", at)
        elif sql.startswith("/*", at):
            at = _after(sql, "*/", at + 2)
        elif sql[at] == text:
            break
        else:
            at += 1
    return at


def _after(sql: str, mark: str, start: int) -> int:
    found = sql.find(mark, start)
    return len(sql) if found < 0 else found + len(mark)
