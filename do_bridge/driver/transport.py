"""The interface of a transport, with deadlines and careful retries for all."""

from __future__ import annotations

import email.utils
import ipaddress
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Bound here, so that a test that replaces time.monotonic() for its own code does not reach ours.
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from .exceptions import DatabaseError, DataError, Error, InternalError, NotSupportedError, OperationalError
from .replicas import Reached
from .sql import Statement

T = TypeVar("T")

_HISTORY: Final = "Only Durable Objects behind the relay have bookmarks"

_ATTEMPTS: Final = 5
# The runtime's refusal of a call that the object's code does not have.
_NO_METHOD: Final = "does not implement the method"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Beyond this exponent no pause is longer than the longest, and the power would overflow a float.
_MOST_DOUBLINGS: Final = 10


def is_on_this_machine(url: str) -> bool:
    """Return whether a URL's host is this machine, by name or address.

    Proxies are not used for it.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False  # The address is invalid, which the code that uses it reports.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Deadline:
    """A point in time that a whole call must keep, retries included."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self._end - monotonic())


class Control(NamedTuple):
    """A step without a statement.

    ``verb`` is ``savepoint``, ``release``, ``rollback_to``, ``commit`` or ``rollback``.
    """

    verb: str
    name: str = ""
    key: str = ""
    """By what a commit is known whose answer was lost."""


Step = Statement | Control


@dataclass
class Answer:
    """One step's result as it came: values undecoded, counters if they are known."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    changes: int | None = None
    last_row_id: int | None = None
    rows_read: int | None = None
    rows_written: int | None = None
    is_exact: bool = False
    """Whether the rows are Python's values already."""
    on_row_id: Callable[[], None] | None = None
    """Called once somebody looks at ``last_row_id``."""
    reached: Reached | None = None
    """What a request in a session of D1 has reached."""


class ReadRequest(NamedTuple):
    """Statements of one database that only read.

    ``expect`` and ``session``: see ``Transport.batch``.
    """

    database: str
    statements: Sequence[Statement]
    expect: str | None = None
    session: str | None = None


class RemoteTransaction(ABC):
    """One interactive transaction of a database; it begins with its first ``run``."""

    @abstractmethod
    def run(self, steps: Sequence[Step], deadline: Deadline) -> list[Answer]:
        """Run the steps in order.

        An error's ``effect`` shows whether the transaction is still open.
        """

    @abstractmethod
    def abandon(self) -> None:
        """End a transaction whose state is unknown."""

    def has_counted(self, table: str) -> bool:
        """Return whether it has returned a key of the table's counter."""
        return False

    def leave(self, deadline: Deadline) -> None:
        """Roll back without waiting for the answer: nothing depends on it."""
        self.abandon()


class Transport(ABC):
    """A way to the databases; one object serves all threads of a process."""

    @abstractmethod
    def batch(
        self,
        database: str,
        statements: Sequence[Statement],
        deadline: Deadline,
        *,
        expect: str | None = None,
        key: str | None = None,
        location: str | None = None,
        session: str | None = None,
    ) -> list[Answer]:
        """Run the statements as one atomic unit, in one round trip.

        ``expect`` and ``location``: see Connection. ``session`` opens a session of D1 for the request, with
        this constraint or bookmark; the answers have what it has reached.

        Raises only the driver's exceptions. Reads are tried again. Writes are tried again only if they
        certainly did not run, or if ``key`` identifies them.
        """

    def transaction(
        self, database: str, lease: float, *, expect: str | None = None, location: str | None = None
    ) -> RemoteTransaction:
        """Return a transaction that has not begun.

        This base class raises NotSupportedError. `lease` is in seconds; ``expect`` and ``location``: see
        Connection.
        """
        raise NotSupportedError(f"{database} has no transactions over this transport. Call execute_batch()")

    def supports_transactions(self, database: str) -> bool:
        """Return whether ``transaction`` works for this database."""
        return False

    def together(self, requests: Sequence[ReadRequest], deadline: Deadline) -> list[list[Answer] | Error]:
        """Run reads of several databases in one round trip.

        Return the answers or the error of each. Raises NotSupportedError if the transport has no such
        request.
        """
        raise NotSupportedError("This transport cannot send several requests together", effect="none")

    def size(self, database: str, deadline: Deadline) -> int:
        """Return the bytes that the database takes on disk."""
        raise NotSupportedError(f"This transport cannot report the size of {database}. Use the relay")

    def erase(self, database: str, deadline: Deadline, *, fence: int | None = None) -> bool:
        """Delete an object's storage, as ``Connection.erase`` does."""
        raise NotSupportedError(f"This transport cannot erase {database}. Use the relay")

    def bookmarks(
        self, databases: Sequence[str], deadline: Deadline, *, at: int | None = None
    ) -> list[str | Error]:
        """Return the bookmark of now, or of a moment, or the error of each object.

        One round trip. ``at`` is in milliseconds since 1970. Raises what concerns all of them.
        """
        raise NotSupportedError(f"{_HISTORY}, and {databases[0]} is reached without it", effect="none")

    def restore(
        self, database: str, bookmark: str, deadline: Deadline, *, first: Sequence[Statement] = ()
    ) -> str:
        """Take an object back to a bookmark; return the bookmark that undoes it.

        The statements ``first`` must succeed, or nothing is restored.
        """
        raise NotSupportedError(f"{_HISTORY}, and {database} is reached without it", effect="none")

    @abstractmethod
    def max_request(self, deadline: Deadline) -> int:
        """Return the largest request in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Close the transport's connections; it opens new ones when it is used again."""


class WrappedTransport(Transport):
    """A transport that passes every call to another one, which it does not close."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def batch(
        self,
        database: str,
        statements: Sequence[Statement],
        deadline: Deadline,
        *,
        expect: str | None = None,
        key: str | None = None,
        location: str | None = None,
        session: str | None = None,
    ) -> list[Answer]:
        return self.inner.batch(
            database, statements, deadline, expect=expect, key=key, location=location, session=session
        )

    def transaction(
        self, database: str, lease: float, *, expect: str | None = None, location: str | None = None
    ) -> RemoteTransaction:
        return self.inner.transaction(database, lease, expect=expect, location=location)

    def supports_transactions(self, database: str) -> bool:
        return self.inner.supports_transactions(database)

    def together(self, requests: Sequence[ReadRequest], deadline: Deadline) -> list[list[Answer] | Error]:
        return self.inner.together(requests, deadline)

    def size(self, database: str, deadline: Deadline) -> int:
        return self.inner.size(database, deadline)

    def erase(self, database: str, deadline: Deadline, *, fence: int | None = None) -> bool:
        return self.inner.erase(database, deadline, fence=fence)

    def bookmarks(
        self, databases: Sequence[str], deadline: Deadline, *, at: int | None = None
    ) -> list[str | Error]:
        return self.inner.bookmarks(databases, deadline, at=at)

    def restore(
        self, database: str, bookmark: str, deadline: Deadline, *, first: Sequence[Statement] = ()
    ) -> str:
        return self.inner.restore(database, bookmark, deadline, first=first)

    def max_request(self, deadline: Deadline) -> int:
        return self.inner.max_request(deadline)

    def close(self) -> None:
        """Do nothing: the other transport is the process's, and stays open."""


def size_of(statements: Sequence[Statement]) -> int:
    """Return an upper limit of the bytes that the statements take on the wire."""
    return sum(
        len(json.dumps([statement.sql, *statement.params], ensure_ascii=False).encode()) + 100
        for statement in statements
    )


def with_retries(
    call: Callable[[], T], *, reads_only: bool, deadline: Deadline, attempts: float = _ATTEMPTS
) -> T:
    """Call until it works, while a retry is safe and there is time.

    Raises the last error. A write is repeated only after an error whose ``effect`` is ``none``. A call to an
    object whose code is being updated is repeated until the deadline, whatever ``attempts`` is.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except DatabaseError as error:
            kinds = (OperationalError, InternalError, DataError)
            uncertain = isinstance(error, kinds) and error.effect == "unknown"
            if uncertain and not reads_only:
                raise outcome_unknown(error) from error
            pause = error.retry_after if error.retry_after is not None else _pause(attempt)
            if attempt > 1:
                # Without a pause, a server that refuses every new session at once would be called without
                # rest.
                pause = pause or _pause(attempt)
            may_pass = error.transient and (reads_only or error.effect == "none")
            spent = (attempt >= attempts and not _is_updating(error)) or pause >= deadline.remaining()
            if not may_pass or spent:
                raise
        time.sleep(pause)


def outcome_unknown(error: DatabaseError, work: str = "write") -> DatabaseError:
    """Return the error for work that may or may not have been done."""
    return type(error)(
        f"{error}. The outcome of the {work} is unknown. Read the data before you repeat it",
        kind=error.kind,
        http_status=error.http_status,
        request_id=error.request_id,
        effect="unknown",
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds in a ``retry-after`` header, or None.

    The header is a number or a date.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    # NaN compares false with everything.
    return seconds if seconds >= _FIRST_PAUSE else _FIRST_PAUSE


def check_token(token: str, setting: str) -> None:
    """Raise OperationalError for a token that an HTTP header cannot carry.

    The message does not show the token.
    """
    if not (token and token.isascii() and token.isprintable()):
        raise OperationalError(
            f"{setting} is empty, or has characters that an HTTP header cannot carry. Set it to "
            "printable ASCII text",
            effect="none",
        )


def _is_updating(error: DatabaseError) -> bool:
    """Return whether an object lacks a method that its new code has.

    A busy object is updated later.
    """
    return error.kind == "retry" and _NO_METHOD in str(error)


def _pause(attempt: int) -> float:
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter is no secret.
