"""The clients under whose names a connection writes, and the keys of its writes."""

from __future__ import annotations

import os
import secrets
from typing import Final

from do_bridge.driver.exceptions import OperationalError

# The relay accepts no more digits, which leaves a client a billion writes.
_LARGEST: Final = 10**15 - 1
# The largest step from a write's number to the next one's; the step is random.
PER_WRITE: Final = 10**6


class NameInUse(OperationalError):
    """The object has received a later key of this client.

    Another process writes under its name. The work was not run, and never will be under its key.
    """


class _Client:
    """A random client name, and the number of its last write.

    One connection at a time writes under it.
    """

    __slots__ = ("last", "name", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.name = secrets.token_hex(16)
        self.last = 0

    @property
    def usable(self) -> bool:
        """Whether the name belongs to this process and has a number left."""
        # The child of a fork would use its parent's keys, and its writes would never run.
        return self.pid == os.getpid() and self.last < _LARGEST - 2 * PER_WRITE


# The names of closed connections, for reuse, because an object keeps one row for each name.
_free: Final[list[_Client]] = []


class WriteKeys:
    """The idempotency keys of one connection's writes.

    A key is ``<client>:<n>``, where ``n`` only grows. An object runs no write whose number is lower than the
    last that it has received from the client, so a write that was delayed on its way never runs after later
    ones.
    """

    def __init__(self) -> None:
        self._client: _Client | None = None

    def next(self) -> str:
        """Return a key that no other write has, in this process or in another."""
        client = self._client
        if client is None or not client.usable:
            client = self._client = _take()
        # Two copies of this state (a restored snapshot, threads that share a connection) must not reach the
        # same number: the second write would get the first one's answer without being run.
        number = (client.last // PER_WRITE + 1) * PER_WRITE + secrets.randbelow(PER_WRITE)
        client.last = number
        return f"{client.name}:{number}"

    def rename(self) -> None:
        """Write under a new name from now on.

        A copy of this state uses the old one.
        """
        # Take no free name: those may have been copied, too.
        self._client = _Client()

    def give_back(self) -> None:
        """Release the name and its number to another connection."""
        client, self._client = self._client, None
        if client is not None and client.usable:
            _free.append(client)


def _take() -> _Client:
    while True:
        try:
            client = _free.pop()
        except IndexError:
            return _Client()
        if client.usable:
            return client
