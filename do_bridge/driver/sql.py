"""Analyse a statement's text: placeholders, verb, whether it only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

from . import codec
from .exceptions import NotSupportedError, ProgrammingError

Params = Sequence[Any] | Mapping[str, Any]

_MAIN_VERBS: Final = frozenset({"SELECT", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE"})
_COUNTED: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_READ_VERBS: Final = frozenset({"SELECT", "VALUES", "EXPLAIN"})
# Every other PRAGMA may change something.
_READ_PRAGMAS: Final = frozenset(
    {
        "COLLATION_LIST",
        "COMPILE_OPTIONS",
        "FOREIGN_KEY_CHECK",
        "FOREIGN_KEY_LIST",
        "FUNCTION_LIST",
        "INDEX_INFO",
        "INDEX_LIST",
        "INDEX_XINFO",
        "QUICK_CHECK",
        "TABLE_INFO",
        "TABLE_LIST",
        "TABLE_XINFO",
    }
)
# These pragmas are not part of a transaction, and all clients of a database share one connection. Once
# switched on, each would stay on for all of them until the database is started again.
_LASTING_PRAGMAS: Final = frozenset(
    {
        "CASE_SENSITIVE_LIKE",
        "IGNORE_CHECK_CONSTRAINTS",
        "LEGACY_ALTER_TABLE",
        "RECURSIVE_TRIGGERS",
        "REVERSE_UNORDERED_SELECTS",
    }
)
_OFF: Final = frozenset({"0", "FALSE", "NO", "OFF"})
_LONGEST_CACHED: Final = 20_000
# https://github.com/django/django/blob/5.2/django/db/backends/sqlite3/base.py: FORMAT_QMARK_REGEX.
_POSITIONAL: Final = re.compile(r"(?<!%)%s")
_NAMED: Final = re.compile(r"%(?:%|\(([^)]+)\)s)")
_CLOSING: Final = {"'": "'", '"': '"', "`": "`", "[": "]"}


class Shape(NamedTuple):
    """The main verb of a statement, and what follows from it.

    ``verb`` is in upper case, and empty without a statement. ``lasting`` is the name of a pragma in it that
    would stay on for every client, or empty.
    """

    verb: str
    reads_only: bool
    counted: bool
    lasting: str = ""


class Statement(NamedTuple):
    """A statement to send: SQL with ``?1`` slots, the texts bound to them, its shape.

    ``metered`` has the database count the rows that it reads and writes.
    """

    sql: str
    params: tuple[str, ...]
    shape: Shape
    metered: bool = False


def prepare(sql: str, params: Params | None) -> Statement:
    """Return the statement for SQL with ``%s`` or ``%(name)s``.

    With ``None`` as parameters the SQL stays unchanged. Raises ProgrammingError for a wrong number, name or
    type of parameters, and NotSupportedError for a pragma that would outlast its transaction.
    """
    # Long statements are made for one use, and would only fill the caches.
    long = len(sql) > _LONGEST_CACHED
    shape = (shape_of.__wrapped__ if long else shape_of)(sql)
    if shape.lasting:
        raise NotSupportedError(
            f"PRAGMA {shape.lasting} would stay switched on for everybody who uses the database, for it is "
            "no part of a transaction: leave it out",
            effect="none",
        )
    if params is None:
        return Statement(sql, (), shape)
    if isinstance(params, Mapping):
        # Send only the parameters that the statement names, because the runtime counts the bound ones.
        used = tuple(name for name in _names(sql) if name in params)
        names: tuple[str, ...] | None = used
        encoded = codec.encode([params[name] for name in used])
    else:
        names = None
        encoded = codec.encode(params)
    if ";" in sql:
        # The runtime reads a comment after the semicolon as a second statement, and refuses the parameters.
        sql = bare(sql)
    filled = (_fill.__wrapped__ if long else _fill)(sql, names, encoded.kinds)
    return Statement(filled, encoded.wire, shape)


def fill(sql: str, slots: Sequence[str] | Mapping[str, str]) -> str:
    """Return SQL with its placeholders replaced by ``slots``, and ``%%`` by ``%``.

    As in Django's sqlite3 backend, any other ``%`` stays: ``LIKE 'q%'``, ``strftime('%Y')``. Raises
    ProgrammingError if the numbers of placeholders and slots differ, or a name has no slot.
    """
    if isinstance(slots, Mapping):
        if found := _POSITIONAL.search(sql):
            raise ProgrammingError(
                f"The statement has %s at character {found.start() + 1}, but its parameters have names. "
                "Use %(name)s, or give a sequence of parameters."
            )
        try:
            return _NAMED.sub(lambda found: slots[found[1]] if found[1] is not None else "%", sql)
        except KeyError as error:
            raise ProgrammingError(f"The statement names a parameter that was not given: {error}") from None
    pieces = _POSITIONAL.split(sql)
    if len(pieces) != len(slots) + 1:
        raise ProgrammingError(
            f"The statement has {len(pieces) - 1} placeholders (%s) but {len(slots)} parameters were given. "
            "Write %% for a percent sign before an s."
        )
    texts = (piece.replace("%%", "%") for piece in pieces)
    return "".join(chain.from_iterable(zip(texts, (*slots, ""), strict=True)))


def _names(sql: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in _NAMED.findall(sql) if name))


@lru_cache(maxsize=1000)
def _fill(sql: str, names: tuple[str, ...] | None, kinds: tuple[int, ...]) -> str:
    slots = codec.slots(kinds)
    return fill(sql, slots if names is None else dict(zip(names, slots, strict=True)))


@lru_cache(maxsize=2000)
def shape_of(sql: str) -> Shape:
    """Return the statement's shape.

    A statement counts as a write unless it certainly reads.
    """
    verb = _verb(tokens(sql))
    reads = verb in _READ_VERBS or (verb == "PRAGMA" and _pragma_reads(sql))
    if reads and ";" in sql:
        reads = not is_several(sql)
    return Shape(verb, reads, verb in _COUNTED, _lasting(sql) if "pragma" in sql.lower() else "")


def quote(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def bare(sql: str) -> str:
    """Return the statement without the semicolons and comments that follow it."""
    end = 0
    for text, _, stop in tokens(sql):
        if text != ";":
            end = stop
    return sql[:end]


def _verb(found: Iterator[tuple[str, int, int]]) -> str:
    first = next((text.upper() for text, _, _ in found if text not in "(;"), "")
    if first != "WITH":
        return first
    return next(
        (text.upper() for text, depth, _ in found if depth == 0 and text.upper() in _MAIN_VERBS), first
    )


def _pragma_reads(sql: str) -> bool:
    words = [text.upper() for text, depth, _ in tokens(sql) if depth == 0]
    return "=" not in words and not _READ_PRAGMAS.isdisjoint(words)


def _lasting(sql: str) -> str:
    statement: list[str] = []
    for word in chain((text.upper() for text, _, _ in tokens(sql)), ";"):
        if word != ";":
            statement.append(word)
            continue
        name = next((text for text in statement if text in _LASTING_PRAGMAS), None)
        if name and statement[0] == "PRAGMA":
            at = statement.index(name)
            # A pragma with a value sets it; without one it reads.
            if not _OFF.issuperset(statement[at + 2 : at + 3]):
                return name.lower()
        statement = []
    return ""


def is_several(sql: str) -> bool:
    """Return whether the text holds more than one statement."""
    ended = False
    for text, _, _ in tokens(sql):
        if ended and text != ";":
            return True
        ended = ended or text == ";"
    return False


def tokens(sql: str) -> Iterator[tuple[str, int, int]]:
    """Yield words and signs with their depth in parentheses and their end.

    For a quoted text, its opening mark takes the place of the word.
    """
    at, depth, end = 0, 0, len(sql)
    while at < end:
        char = sql[at]
        if char.isspace():
            at += 1
        elif sql.startswith("--", at):
            at = _after(sql, "\n", at)
        elif sql.startswith("/*", at):
            at = _after(sql, "*/", at + 2)
        elif char in _CLOSING:
            at = _after(sql, _CLOSING[char], at + 1)
            yield char, depth, at
        elif char.isalnum() or char == "_":
            start = at
            while at < end and (sql[at].isalnum() or sql[at] == "_"):
                at += 1
            yield sql[start:at], depth, at
        else:
            depth -= char == ")"
            at += 1
            yield char, depth, at
            depth += char == "("


def _after(sql: str, mark: str, start: int) -> int:
    found = sql.find(mark, start)
    return len(sql) if found < 0 else found + len(mark)
