"""A statement's result, from the answer of a transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import codec
from .sql import Statement
from .transport import Answer


@dataclass
class Result:
    """A statement's result.

    ``rowcount`` is -1 for a read; only an INSERT sets ``lastrowid``.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    rowcount: int
    lastrowid: int | None
    on_lastrowid: Callable[[], None] | None = None
    """Must be called before ``lastrowid`` is used; None if not needed."""


def decoded_rows(answer: Answer) -> tuple[list[tuple[Any, ...]], set[int]]:
    """Return the rows as Python's values, and the columns that may be rounded."""
    if answer.is_exact:
        return [tuple(row) for row in answer.rows], set()
    return codec.decode(answer.rows)


def result_of(statement: Statement, answer: Answer, rows: list[tuple[Any, ...]]) -> Result:
    """Return the result of a statement whose rows are decoded."""
    shape = statement.shape
    rowcount = answer.changes if shape.counted and answer.changes is not None else -1
    lastrowid = answer.last_row_id if shape.verb in ("INSERT", "REPLACE") else None
    if lastrowid is not None and abs(lastrowid) > codec.MAX_EXACT:
        # A number that JSON has rounded would be wrong, so it counts as unknown.
        lastrowid = None
    return Result(answer.columns, rows, rowcount, lastrowid, answer.on_row_id)
