"""Probes of values on the wire.

A parameter must be stored as it was sent, and come back the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import EVERY, OBJECT, Group, Probe, Wrong, expect

PROBES: list[Probe] = []
_group = Group("Values on the wire", PROBES)

_REPORT = "Do not store such values, and report this with the output of `manage.py relay doctor --json`."
_INTEGERS = (2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 0, 5)


def _expect_back(database: Database, numbers: Sequence[float]) -> None:
    """Select each number as a parameter and expect it back."""
    columns = ", ".join(f"%s AS n{index}" for index in range(len(numbers)))
    row = database.rows(f"SELECT {columns}", *numbers)[0]
    for number, found in zip(numbers, row, strict=True):
        expect(found, number, f"{number!r} in a result")


@_group.probe(
    "integer-parameters",
    on=EVERY,
    fact="An integer inside the JSON parameter arrives as INTEGER, exact to 64 bits.",
    why="Otherwise keys beyond 2^53 would be stored rounded.",
    fix=_REPORT,
)
def integer_parameters(database: Database) -> None:
    # In one round trip, as below: on a slow way each one counts.
    pairs = ", ".join(["typeof(%s), CAST(%s AS TEXT)"] * len(_INTEGERS))
    found = database.rows(f"SELECT {pairs}", *(number for number in _INTEGERS for _ in "tx"))[0]
    for number, kind, text_ in zip(_INTEGERS, found[::2], found[1::2], strict=True):
        expect((kind, text_), ("integer", str(number)), f"{number} as a parameter")


@_group.probe(
    "integer-results",
    on=EVERY,
    fact="An integer beyond 2^53 in a result is read exactly.",
    why="Otherwise keys beyond 2^53 would be read rounded and name another row.",
    fix=_REPORT,
)
def integer_results(database: Database) -> None:
    _expect_back(database, _INTEGERS)


@_group.probe(
    "floats",
    on=EVERY,
    fact="A float keeps its 64 bits in both directions and is REAL in SQL, also if it is whole.",
    why="Otherwise prices and measurements would drift, and 5/2 would be 2 or 2.5 by chance.",
    fix=_REPORT,
)
def floats(database: Database) -> None:
    _expect_back(database, (0.1, 1 / 3, -2.5, 1.7976931348623157e308, 5e-324, 123456789.12345679))
    expect(database.value("SELECT typeof(%s) AS t", 5.0), "real", "the type of 5.0 as a parameter")


@_group.probe(
    "infinities",
    on=EVERY,
    fact="An object returns an infinity as such; D1 returns it, or NULL.",
    why="Any other number in its place would be a wrong answer.",
    fix=_REPORT,
)
def infinities(database: Database) -> None:
    numbers = (math.inf, -math.inf)
    for number, found in zip(numbers, database.rows("SELECT %s AS a, %s AS b", *numbers)[0], strict=True):
        if found != number and (found is not None or database.kind == OBJECT):
            raise Wrong(f"{number} came back as {found!r}")


@_group.probe(
    "text",
    on=EVERY,
    fact="Text survives with NUL characters, quotes, line ends and four-byte characters.",
    why="Otherwise rows would be cut or changed when they are read.",
    fix=_REPORT,
)
def text(database: Database) -> None:
    value = "a\0b'\"\\\r\n\u2028é\U0001f600%s;--"
    row = database.rows("SELECT %s AS t, hex(%s) AS h", value, value)[0]
    expect(row, (value, value.encode().hex().upper()), "the text")
    long = value * 1000
    expect(database.value("SELECT %s AS t", long), long, "a text in a slot of its own")


@_group.probe(
    "blobs",
    on=EVERY,
    fact="Bytes come back the same, small ones and those that travel in slots of their own.",
    why="Otherwise files and pickled values in BinaryFields would be damaged.",
    fix=_REPORT,
)
def blobs(database: Database) -> None:
    every = bytes(range(256))
    for value in (b"", every, every * 40):
        row = database.rows("SELECT %s AS b, typeof(%s) AS t, length(%s) AS n", value, value, value)[0]
        expect(row, (value, "blob", len(value)), f"{len(value):,} bytes")


@_group.probe(
    "nulls-and-booleans",
    on=EVERY,
    fact="None is NULL, and True and False are the integers 1 and 0.",
    why="An object binds a boolean of JavaScript as the text 'true', so `WHERE active` would match nothing.",
    fix=_REPORT,
)
def nulls_and_booleans(database: Database) -> None:
    row = database.rows("SELECT %s AS n, %s AS t, typeof(%s) AS k, %s AS f", None, True, True, False)[0]
    expect(row, (None, 1, "integer", 0), "None, True and False")


@_group.probe(
    "columns-of-one-name",
    on=EVERY,
    fact="Two columns with the same name in a result stay two.",
    why="Django selects `id` of two tables in every join; merged columns would shift all others.",
    fix=_REPORT,
)
def columns_of_one_name(database: Database) -> None:
    result = database.batch("SELECT 1 AS a, 2 AS b, 3 AS a")[0]
    expect(result.columns, ["a", "b", "a"], "the columns")
    expect(result.rows, [(1, 2, 3)], "the row")


@_group.probe(
    "columns-of-nothing",
    on=EVERY,
    fact="A result without rows still names its columns.",
    why="Without them `cursor.description` would be empty: raw queries and dbshell fail on an empty table.",
    fix=_REPORT,
)
def columns_of_nothing(database: Database) -> None:
    result = database.batch("SELECT 1 AS a, 2 AS b WHERE 0")[0]
    expect((result.columns, result.rows), (["a", "b"], []), "columns and rows")


@_group.probe(
    "several-statements",
    on=EVERY,
    fact="A text of several statements returns the rows of the last one.",
    why="RunSQL with several statements would return another statement's rows, or fail.",
    fix="Give RunSQL a list with one statement in each item.",
)
def several_statements(database: Database) -> None:
    # Only this client's texts: the local runtime refuses one that it still holds half read for another
    # client.
    one, two = (database.table(f"{database.kind}-{name}") for name in ("one", "two"))
    expect(database.rows(f"SELECT '{one}' AS a; SELECT '{two}' AS a"), [(two,)], "the rows")
