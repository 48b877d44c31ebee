"""Time Travel of a D1 database: bookmarks of its history, and the way back to one.

https://developers.cloudflare.com/d1/reference/time-travel/ and
https://developers.cloudflare.com/api/resources/d1/subresources/database/subresources/time_travel/
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from do_bridge.driver.exceptions import DataError, InterfaceError
from do_bridge.driver.transport import Deadline, with_retries

from .rest import RestTransport

#: The history that D1 keeps on the paid plan; a free one has 7 days.
KEPT: Final = timedelta(days=30)
TIMEOUT: Final = 60.0


class Restored(NamedTuple):
    """The bookmark of a database after a restore, and the one that undoes it."""

    bookmark: str
    previous: str


class TimeTravel:
    """The history of one D1 database, by Cloudflare's API; ``database`` is its id."""

    def __init__(self, transport: RestTransport, database: str, timeout: float = TIMEOUT) -> None:
        self._transport = transport
        self._database = f"d1:{database}"
        self._timeout = timeout

    def bookmark(self, at: datetime | None = None) -> str:
        """Return the bookmark of the present state, or of that at a moment.

        The moment has a time zone. Raises DataError for one that is more than 30 days ago or in the future.
        """
        now = datetime.now(UTC)
        if at is not None and at > now:
            raise DataError("The moment is in the future. Choose one of the last 30 days", effect="none")
        if at is not None and at < now - KEPT:
            raise DataError(
                "The moment is more than 30 days ago, and D1 keeps no older history. Load a backup",
                effect="none",
            )
        query = {} if at is None else {"timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        deadline = Deadline(self._timeout)
        result = with_retries(
            lambda: self._transport.call("GET", self._database, "time_travel/bookmark", query, deadline),
            reads_only=True,
            deadline=deadline,
        )
        return _text(result, "bookmark", "none")

    def restore(self, bookmark: str) -> Restored:
        """Take the database back to a bookmark.

        Requests that run there are cancelled. If the answer is lost, the outcome is unknown; restoring the
        same bookmark again does no harm, but its answer then leads back to the state after the first restore.
        """
        deadline = Deadline(self._timeout)
        result = with_retries(
            lambda: self._transport.call(
                "POST", self._database, "time_travel/restore", {"bookmark": bookmark}, deadline
            ),
            reads_only=False,
            deadline=deadline,
        )
        return Restored(_text(result, "bookmark", "done"), _text(result, "previous_bookmark", "done"))


def _text(result: Any, name: str, effect: str) -> str:
    found = result.get(name) if isinstance(result, dict) else None
    if not isinstance(found, str) or not found:
        raise InterfaceError(
            f"The answer of D1's API has no {name}. Install a newer do_bridge", effect=effect
        )
    return found
