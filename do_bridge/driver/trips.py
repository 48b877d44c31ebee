"""Count round trips, for tests and measurements."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class TripCount:
    """The number of requests sent so far (``count``).

    Retries count; opening a connection does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self) -> None:
        """Count one request."""
        with self._lock:
            self.count += 1

    def __repr__(self) -> str:
        return f"<TripCount {self.count}>"


_counts: ContextVar[tuple[TripCount, ...]] = ContextVar("do_bridge_trips", default=())


@contextmanager
def count_trips() -> Iterator[TripCount]:
    """Count the round trips of this thread, over all transports.

    Those of code that it calls through asgiref count, too.
    """
    count = TripCount()
    token = _counts.set((*_counts.get(), count))
    try:
        yield count
    finally:
        _counts.reset(token)


def trip() -> None:
    """Count a request that is about to be sent."""
    for count in _counts.get():
        count.add()
