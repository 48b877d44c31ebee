"""Find the tables that a statement names, without a grammar of SQL.

Only the words of the statement are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from .sql import tokens

# A table's name follows these words.
_BEFORE: Final = frozenset({"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "TRUNCATE", "REFERENCES", "IN"})
# These words may stand between the two.
_BETWEEN: Final = frozenset(
    {"OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK", "IF", "NOT", "EXISTS", "ONLY", "LATERAL"}
)
# If one of these words follows instead, there is no name.
_INSTEAD: Final = frozenset({"SELECT", "VALUES", "WITH", "SET", "ON", "OF"})
# These words end the list after FROM.
_ENDING: Final = frozenset(
    {
        "WHERE",
        "GROUP",
        "ORDER",
        "HAVING",
        "LIMIT",
        "WINDOW",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "SET",
        "RETURNING",
    }
)
_QUOTES: Final = "\"'`["
_LONGEST_CACHED: Final = 20_000


def tables_in(sql: str) -> frozenset[str]:
    """Return the names that stand in a table's place, lower-case and unquoted.

    The result may have names that are not tables. Names of WITH clauses and an alias's schema are included.
    Names inside PRAGMA and inside texts are not.
    """
    return (_tables.__wrapped__ if len(sql) > _LONGEST_CACHED else _tables)(sql)


@lru_cache(maxsize=1000)
def _tables(sql: str) -> frozenset[str]:
    found: set[str] = set()
    lists: set[int] = set()  # depths in parentheses at which commas separate tables
    creates = expecting = named = False
    before = ""
    for word, name, depth in _words(sql):
        creates = creates or word == "CREATE"
        if expecting and word == "(":
            expecting = before != "IN"
            lists.add(depth + 1)
        elif expecting and name and word not in _BETWEEN | _INSTEAD:
            found.add(name)
            expecting, named = False, True
            continue
        elif word not in _BETWEEN:
            lists = {known for known in lists if known < depth or (known == depth and word not in _ENDING)}
            expecting = (
                word in _BEFORE
                or (word == "," and depth in lists)
                or (word == "." and named)
                or (word == "ON" and creates)
            )
            lists |= {depth} if word == "FROM" else set()
        before, named = word, False
    return frozenset(found)


def _words(sql: str) -> Iterator[tuple[str, str, int]]:
    """Yield (keyword or sign, name, depth).

    A bare word is both a keyword and a name, a quoted one only a name.
    """
    for text, depth, end in tokens(sql):
        if text in _QUOTES:
            start = sql.rfind(text, 0, end - 1)
            yield "", sql[start + 1 : end - 1].lower(), depth
        elif text[0].isalnum() or text[0] == "_":
            yield text.upper(), text.lower(), depth
        else:
            yield text, "", depth
