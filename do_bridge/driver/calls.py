"""What one request was and took, for logs and for whoever watches a connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("do_bridge.driver")


@dataclass(slots=True)
class Call:
    """One request: ``operation`` is ``batch``, ``tx``, ``commit`` or ``rollback``; never its parameters.

    ``duration`` in seconds; ``rows`` that came back, ``changed`` those that were written, triggers' and
    cascades' not counted; ``error`` the name of the exception's class, or None.

    ``rows_read`` and ``rows_written`` are the runtime's own counters, which Cloudflare bills: rows looked at,
    and rows and index entries written, over all statements of the request. None where they are not known:
    nobody asked (``Connection.metered``), the request failed or had no statement, the Worker is older, or D1
    was read through the relay by a text that it cannot meter (worker/PROTOCOL.md says which).
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


class Timed:
    """Measures one request, logs it, and tells the connection's ``on_call``."""

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
