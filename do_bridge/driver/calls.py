"""Describe one request and its duration, for logs and observers of a connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .sql import Statement
from .transport import Answer

logger = logging.getLogger("do_bridge.driver")


@dataclass
class Call:
    """One request, without its parameters.

    ``operation`` is ``batch``, ``tx``, ``commit`` or ``rollback``. ``duration`` in seconds; ``rows`` that
    came back; ``changed`` rows that were written, without those of triggers and cascades; ``error`` the name
    of the exception's class, or None.

    ``rows_read`` and ``rows_written`` are the runtime's own counters, which Cloudflare bills: rows scanned,
    and rows and index entries written, over all statements of the request. They are None if
    ``Connection.metered`` did not ask for them, if the request failed or had no statement, if the Worker is
    older, or if the relay could not count them for this multi-statement text on D1 (see worker/PROTOCOL.md).

    ``replica`` is whether a read replica has served the request, and ``region`` where; both are None outside
    of sessions of D1, and if D1 does not report them, which it does for batches and metered reads.

    ``name`` is the connection's, which the Django backends set to the alias. ``sql`` holds the texts of the
    statements, without their parameters.
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
    name: str = ""
    sql: tuple[str, ...] = ()
    replica: bool | None = None
    region: str | None = None

    def count(self, answers: Sequence[Answer]) -> None:
        """Take the numbers of rows from the answers to the request."""
        for answer in answers:
            self.rows += len(answer.rows)
            self.changed += answer.changes or 0
        self.rows_read = _total([answer.rows_read for answer in answers])
        self.rows_written = _total([answer.rows_written for answer in answers])
        if answers and (reached := answers[0].reached) is not None:
            self.region = reached.region
            self.replica = None if reached.primary is None else not reached.primary


# Replaced as a whole, because other threads iterate over it.
_observers: tuple[tuple[Callable[[Call], None], Callable[[], bool] | None], ...] = ()


def observe(
    observer: Callable[[Call], None], needs_rows: Callable[[], bool] | None = None
) -> Callable[[], None]:
    """Call ``observer`` after each request of every connection, in its thread.

    It must be quick, and it must not use the connection. ``needs_rows`` is called before each request and
    returns whether to count the rows read and written. Return a function that undoes this. An exception of an
    observer is logged and goes no further.
    """
    global _observers
    entry = (observer, needs_rows)
    if entry not in _observers:
        _observers = (*_observers, entry)

    def undo() -> None:
        global _observers
        _observers = tuple(other for other in _observers if other != entry)

    return undo


def rows_needed() -> bool:
    """Return whether an observer needs the numbers of rows read and written."""
    return any(needs_rows() for _, needs_rows in _observers if needs_rows is not None)


class Timed:
    """The measurement of one request.

    It logs the request, and calls the connection's ``on_call`` and all observers.
    """

    def __init__(
        self,
        operation: str,
        database: str,
        on_call: Callable[[Call], None] | None,
        statements: Sequence[Statement] = (),
        name: str = "",
    ) -> None:
        sql = tuple(statement.sql for statement in statements)
        self.call = Call(operation, database, len(statements), name=name or database, sql=sql)
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
        for observer, _needs_rows in _observers:
            try:
                observer(call)
            except Exception:
                logger.exception("An observer of requests has failed. The request itself has not.")


def _total(numbers: Sequence[int | None]) -> int | None:
    """Return the sum, or None if one of the numbers is unknown."""
    known = [number for number in numbers if number is not None]
    return sum(known) if numbers and len(known) == len(numbers) else None
