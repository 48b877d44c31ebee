"""Bookmarks in a Durable Object's history, and the way back to one.

https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager

from .exceptions import Error
from .transport import Deadline, Transport


class History:
    """What Connection offers of an object's history."""

    transport: Transport
    database: str
    timeout: float

    @abstractmethod
    def _check_outside(self) -> None: ...

    @abstractmethod
    def _timed(self, operation: str) -> AbstractContextManager[object]: ...

    def bookmark(self, at: int | None = None) -> str:
        """Return the bookmark of an object's present state, or of that at a moment.

        One round trip, outside any transaction. ``at`` is in milliseconds since 1970, within the last 30
        days. It needs the token RELAY_TOKEN. Raises NotSupportedError if there is no history: D1 has none
        here, and the local runtime knows only the present bookmark; and DataError for a moment out of reach.
        """
        self._check_outside()
        with self._timed("bookmark"):
            (found,) = self.transport.bookmarks([self.database], Deadline(self.timeout), at=at)
        if isinstance(found, Error):
            raise found
        return found

    def restore(self, bookmark: str) -> str:
        """Take a Durable Object back to a bookmark; return the bookmark that undoes this.

        The object restarts. What was confirmed since the bookmark is gone, idempotency keys too, and calls
        that wait there may fail. If the answer is lost, the outcome is unknown. Restoring the same bookmark
        again does no harm, but the second answer leads back to the state after the first restore: to undo
        both, read ``bookmark()`` before the first. Raises as ``bookmark`` does, and DataError for a bookmark
        that the platform refuses.
        """
        self._check_outside()
        with self._timed("restore"):
            return self.transport.restore(self.database, bookmark, Deadline(self.timeout))
