"""Integers beyond 2^53, which JSON rounds: read them a second time, as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .exceptions import DataError
from .sql import Statement, bare

_WRAPPABLE: Final = frozenset({"SELECT", "VALUES", "WITH"})


def wrapped(statement: Statement, width: int, columns: Iterable[int]) -> Statement:
    """Return the statement that gives the same rows with tagged texts in ``columns``.

    The integers and texts of these columns become tagged texts. A tag instead of a second column keeps the
    result below SQLite's limit of 100 columns. MATERIALIZED computes each row once: ``random()`` must not
    differ between ``typeof`` and the value.
    """
    chosen = set(columns)
    names = ", ".join(f"c{index}" for index in range(width))
    selected = ", ".join(_tagged(f"c{index}") if index in chosen else f"c{index}" for index in range(width))
    inner = f"WITH do_bridge_exact({names}) AS MATERIALIZED (\n{bare(statement.sql)}\n)"
    text = f"{inner} SELECT {selected} FROM do_bridge_exact"  # noqa: S608 - it holds the caller's SQL and own names.
    return Statement(text, statement.params, statement.shape)


def restore(row: tuple[Any, ...], columns: set[int]) -> tuple[Any, ...]:
    """Return a row of the wrapped statement with its tagged columns as values again."""
    return tuple(_untagged(value) if index in columns else value for index, value in enumerate(row))


def can_wrap(statement: Statement) -> bool:
    """Return whether the statement can run a second time, inside another."""
    return statement.shape.reads_only and statement.shape.verb in _WRAPPABLE


def refusal(statement: Statement, name: str) -> DataError:
    """Return the error for a possibly rounded result that cannot be read again."""
    done = "" if statement.shape.reads_only else " The statement has been carried out."
    return DataError(
        f"Column {name!r} holds an integer beyond 2^53, which JSON would round.{done} Select "
        f"CAST({name} AS TEXT) instead, in a statement of its own.",
        effect=None if statement.shape.reads_only else "done",
    )


def _tagged(name: str) -> str:
    return f"CASE typeof({name}) WHEN 'integer' THEN 'i'||{name} WHEN 'text' THEN 't'||{name} ELSE {name} END"


def _untagged(value: Any) -> Any:
    if isinstance(value, str):
        return int(value[1:]) if value[0] == "i" else value[1:]
    # An untagged value that looks like an integer is a REAL.
    return float(value) if isinstance(value, int) else value
