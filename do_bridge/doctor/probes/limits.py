"""Probes of SQLite's limits on the platform.

A statement at the limit must work, and one beyond must be refused.
"""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Database, Statement
from do_bridge.doctor.probe import EVERY, Group, Measured, Probe, Wrong, expect
from do_bridge.driver import Error
from do_bridge.driver.limits import SQL_BYTES

PROBES: list[Probe] = []
_group = Group("Limits", PROBES)

_LOWER = "Report this: the package splits its statements for the higher limit."
_VALUE_BYTES: Final = 1_900_000
_PARAMETERS: Final = 1_500


def _limit(database: Database, of: str, at: Statement, wanted: object, beyond: Statement) -> Measured:
    """Expect `wanted` at the limit, and beyond it an answer or SQLite's own refusal."""
    sql, params = at if isinstance(at, tuple) else (at, ())
    expect(database.rows(sql, *params)[0][-1], wanted, "the answer at the limit")
    try:
        database.batch(beyond)
    except Error as error:
        if error.kind != "sql":
            raise Wrong(f"beyond the limit the database fails instead of refusing: {error}") from error
        return {f"beyond the limit of {of}": "refused"}
    return {f"beyond the limit of {of}": "accepted"}


@_group.probe(
    "parameters",
    on=EVERY,
    fact=f"{_PARAMETERS:,} values travel in one statement, as one bound parameter.",
    why="The runtime binds 100; lists and bulk inserts rely on one JSON text instead.",
    fix=_LOWER,
)
def parameters(database: Database) -> None:
    names = ",".join(["(%s)"] * _PARAMETERS)
    sql = f"SELECT count(*) AS n, sum(column1) AS s FROM (VALUES {names})"
    expected = (_PARAMETERS, _PARAMETERS * (_PARAMETERS - 1) // 2)
    expect(database.rows(sql, *range(_PARAMETERS)), [expected], "count and sum")


@_group.probe(
    "bound-parameters",
    on=EVERY,
    fact="100 bound parameters work; one more is refused by SQLite.",
    why="Large texts and blobs of a statement have a parameter each.",
    fix=_LOWER,
)
def bound_parameters(database: Database) -> Measured:
    # Each is too long for the shared JSON text, which takes the last of the 100 slots.
    values = ["x" * 5000] * 99
    sql = f"SELECT {'+'.join(['length(%s)'] * 60)} + ({'+'.join(['length(%s)'] * 39)}) AS n"
    return _limit(database, "bound parameters", (sql, values), 99 * 5000, "SELECT ?101 AS a")


@_group.probe(
    "columns",
    on=EVERY,
    fact="A result has 100 columns; one more is refused by SQLite.",
    why="Wide models and select_related() are read in parts above 100 columns.",
    fix=_LOWER,
)
def columns(database: Database) -> Measured:
    names = [f"{number} AS c{number}" for number in range(101)]
    return _limit(database, "columns", f"SELECT {','.join(names[:100])}", 99, f"SELECT {','.join(names)}")


@_group.probe(
    "statement-length",
    on=EVERY,
    fact="SQL of 99,000 bytes works; above 100,000 SQLite refuses it.",
    why="Bulk statements, dumps and migrations are split at that length.",
    fix=_LOWER,
)
def statement_length(database: Database) -> Measured:
    beyond = f"SELECT 1 AS a /*{'x' * SQL_BYTES}*/"
    return _limit(
        database, "a statement's length", f"SELECT 7 AS a /*{'x' * (SQL_BYTES - 1000)}*/", 7, beyond
    )


@_group.probe(
    "like-pattern",
    on=EVERY,
    fact="A LIKE pattern has 50 bytes; a longer one is refused by SQLite.",
    why="Longer patterns are searched with instr().",
    fix=_LOWER,
)
def like_pattern(database: Database) -> Measured:
    at = f"SELECT '{'a' * 60}' LIKE '{'a' * 49}%' AS a"
    return _limit(database, "a LIKE pattern", at, 1, f"SELECT 'a' LIKE '{'a' * 51}' AS a")


@_group.probe(
    "union-terms",
    on=EVERY,
    fact="A UNION has 5 terms; one more is refused by SQLite.",
    why="union() of more querysets is nested in groups of five.",
    fix=_LOWER,
)
def union_terms(database: Database) -> Measured:
    def union(terms: int) -> str:
        return f"SELECT sum(a) AS s FROM ({' UNION ALL '.join(['SELECT 1 AS a'] * terms)})"

    return _limit(database, "terms of a UNION", union(5), 5, union(6))


@_group.probe(
    "expression-depth",
    on=EVERY,
    fact="An expression of 95 terms works; above 100 levels SQLite refuses it.",
    why="Long chains of Q objects are built as balanced trees below that depth.",
    fix=_LOWER,
)
def expression_depth(database: Database) -> Measured:
    at, beyond = ("+".join(["1"] * terms) for terms in (95, 120))
    return _limit(database, "an expression's depth", f"SELECT {at} AS a", 95, f"SELECT {beyond} AS a")


@_group.probe(
    "arguments",
    on=EVERY,
    fact="A function takes 32 arguments.",
    why="Snapshots and dumps join rows to text with concat_ws() and that many arguments.",
    fix=_LOWER,
)
def arguments(database: Database) -> None:
    expect(database.value(f"SELECT concat_ws('',{','.join(['1'] * 31)}) AS a"), "1" * 31, "concat_ws()")


@_group.probe(
    "value-size",
    on=EVERY,
    fact=f"Two values of {_VALUE_BYTES:,} bytes go into one statement, and one comes back whole.",
    why="The driver accepts values up to 2,000,000 bytes and refuses larger ones before they are sent.",
    fix="Keep files outside the database, and report this.",
)
def value_size(database: Database) -> Measured:
    value, size = "é" * (_VALUE_BYTES // 2), _VALUE_BYTES // 1000
    both = database.value("SELECT length(%s) + length(%s) AS n", value, value)
    expect(both, len(value) * 2, "the length of both")
    found = database.value(f"SELECT replace(printf('%0{size}d', 0), '0', printf('%01000d', 0)) AS t")
    expect(len(str(found)), size * 1000, "the length of a value that comes back")
    at, beyond = (f"SELECT length(zeroblob({bytes_})) AS n" for bytes_ in (_VALUE_BYTES, 2_200_000))
    return _limit(database, "a value's size", at, _VALUE_BYTES, beyond)
