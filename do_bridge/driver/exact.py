"""Integers beyond 2^53, which JSON rounds: read them a second time, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .exceptions import DataError, OperationalError
from .results import decoded_rows
from .sql import Statement, bare
from .transport import Answer

_WRAPPABLE: Final = frozenset({"SELECT", "VALUES", "WITH"})


def read_again(
    statements: Sequence[Statement],
    answers: Sequence[Answer],
    doubtful: Sequence[set[int]],
    send: Callable[[Sequence[Statement]], list[Answer]],
) -> list[list[tuple[Any, ...]]]:
    """Return the rows of statements that run again, with the doubtful columns as text.

    Raises OperationalError if the data changed in between, and DataError if the statements can't be read
    again.
    """
    for statement, answer, columns in zip(statements, answers, doubtful, strict=True):
        if columns and not can_wrap(statement):
            raise refusal(statement, answer.columns[min(columns)])
    if not all(statement.shape.reads_only for statement in statements):
        raise DataError(
            "A read in this batch returns an integer beyond 2^53, which JSON would round. The "
            "writes of the batch have been carried out. Select the integer as text, or read it "
            "in a batch without writes",
            effect="done",
        )
    again = [
        wrapped(statement, len(answer.columns), columns) if columns else statement
        for statement, answer, columns in zip(statements, answers, doubtful, strict=True)
    ]
    result = []
    for answer, columns in zip(send(again), doubtful, strict=True):
        rows, rounded = decoded_rows(answer)
        if not columns and rounded:
            raise OperationalError(
                "The data changed while the driver read its large integers a second time. Read it again",
                transient=True,
            )
        result.append([restore(row, columns) for row in rows])
    return result


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
