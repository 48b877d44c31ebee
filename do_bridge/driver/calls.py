"""Describe one request and its duration, for logs and observers of a connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .transport import Answer

logger = logging.getLogger("do_bridge.driver")


@dataclass(slots=True)
class Call:
    """One request, without its parameters.

    ``operation`` is ``batch``, ``tx``, ``commit`` or ``rollback``; ``duration`` is in seconds; ``rows`` is
    the number of rows returned; ``changed`` is the number of rows written, without those of triggers and
    cascades; ``error`` is the name of the exception's class, or None.

    ``rows_read`` and ``rows_written`` are the runtime's own counters, which Cloudflare bills: rows scanned,
    and rows and index entries written, over all statements of the request. They are None if
    ``Connection.metered`` did not request them, if the request failed or had no statement, if the Worker is
    older, or if the relay could not count them for this multi-statement text on D1 (see
    worker/PROTOCOL.md).
    """

    operation: str
    database: str
    statements: int = 0
    duration: float = 0.0
    rows: int = 0
    changed: int = 0
    rows_read: int | None = None
    rows_written: int | None = None
    error: str | None = None

    def count(self, answers: Sequence[Answer]) -> None:
        """Take the numbers of rows from the answers to the request."""
        self.rows = sum(len(answer.rows) for answer in answers)
        self.changed = sum(answer.changes or 0 for answer in answers)
        self.rows_read = _total([answer.rows_read for answer in answers])
        self.rows_written = _total([answer.rows_written for answer in answers])


class Timed:
    """Measure one request, log it, and call the connection's ``on_call``."""

    def __init__(
        self, operation: str, database: str, on_call: Callable[[Call], None] | None, statements: int = 0
    ) -> None:
        self.call = Call(operation, database, statements)
        self._on_call = on_call
        self._start = time.perf_counter()

    def __enter__(self) -> Call:
        return self.call

    def __exit__(self, error_class: type[BaseException] | None, *_: object) -> None:
        call = self.call
        call.duration = time.perf_counter() - self._start
        call.error = error_class.__name__ if error_class else None
        if logger.isEnabledFor(logging.DEBUG):
            outcome = call.error or f"{call.rows} rows"
            logger.debug("%s %s: %.1f ms, %s", call.operation, call.database, call.duration * 1000, outcome)
        if self._on_call is not None:
            self._on_call(call)


def _total(numbers: Sequence[int | None]) -> int | None:
    """Return the sum, or None if one of the numbers is unknown."""
    known = [number for number in numbers if number is not None]
    return sum(known) if numbers and len(known) == len(numbers) else None
