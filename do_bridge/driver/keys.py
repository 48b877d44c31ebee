"""Keys of writes: a write that has one may be sent again and runs once, and its outcome can be asked for."""

from __future__ import annotations

import math
import os
import secrets
from typing import Any, Final

from .exceptions import DatabaseError, Error, OperationalError
from .relay_pool import RelayPool
from .transport import Answer, Deadline, outcome_unknown, with_retries

# Errors by which an object says what became of a key's work: all others came before they reached it.
_SETTLED: Final = frozenset(
    {"sql", "foreign_key", "schema_mismatch", "too_large", "answer_lost", "stale_key"}
)
# Of an error that an object itself answers, a repetition more would tell nothing new.
_ATTEMPTS_OF_AN_ANSWER: Final = 2

# The relay takes no more digits, which leaves a client a billion writes.
_LARGEST: Final = 10**15 - 1
PER_WRITE: Final = 10**6
"""How far a write's number is from the next one's; what lies between is left to chance."""

# Seconds.
_TIME_TO_ASK: Final = 5.0


class NameInUse(OperationalError):
    """The object knows a later key of this client: somebody else writes under its name.

    The work was not run, and never will be under its key.
    """


class _Client:
    """A random name that one connection at a time writes under, and the number of its last write."""

    __slots__ = ("last", "name", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.name = secrets.token_hex(16)
        self.last = 0

    @property
    def usable(self) -> bool:
        """Whether it is this process's, and has a number left."""
        # The child of a fork would give its writes the same keys as its parent, and never run them.
        return self.pid == os.getpid() and self.last < _LARGEST - 2 * PER_WRITE


# Of closed connections: used again, since an object keeps one row for each name.
_free: Final[list[_Client]] = []


class WriteKeys:
    """Gives the writes of one connection their keys: ``<client>:<n>``, of which ``n`` only grows.

    An object runs no write whose number is lower than the last that it has seen of the client, so that one
    which was delayed on its way never runs after those that came later.
    """

    def __init__(self) -> None:
        self._client: _Client | None = None

    def next(self) -> str:
        """Return a key that no other write has, in this process or in another."""
        client = self._client
        if client is None or not client.usable:
            client = self._client = _take()
        # Two copies of this state (a restored snapshot, threads that share a connection) must not come to one
        # number: the second write would be answered as the first was, and not be run.
        number = (client.last // PER_WRITE + 1) * PER_WRITE + secrets.randbelow(PER_WRITE)
        client.last = number
        return f"{client.name}:{number}"

    def rename(self) -> None:
        """Write under a new name from now on: a copy of this state uses the old one."""
        # None that is free: those have been copied, too.
        self._client = _Client()

    def give_back(self) -> None:
        """Leave the name to another connection, with its number."""
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


def write_once(pool: RelayPool, message: dict[str, Any], key: str, deadline: Deadline) -> list[Answer]:
    """Send a write under its key, again where its answer was lost, until the deadline; return its results.

    An error says by its effect ``none`` that nothing was written and nothing will be, by ``done`` that it
    was written and its results are not known any more, by ``unknown`` that nobody could be asked in time.
    """
    write = _Write(pool, message, key)
    try:
        return _repeated(write, deadline)
    except Error as error:
        if write.doubt is None or (error.kind in _SETTLED and error.effect != "unknown"):
            raise
        doubt, last = write.doubt, error
    outcome = outcome_of(pool, message["db"], key, deadline)
    if outcome == "done":
        return _kept_answer(write, deadline)
    if outcome == "none":
        raise not_done(doubt, "write") from last
    raise outcome_unknown(doubt) from last


def settle_commit(pool: RelayPool, database: str, key: str, error: DatabaseError, deadline: Deadline) -> None:
    """Return if the commit under ``key``, whose answer was lost by ``error``, was carried out.

    Raises OperationalError with the effect ``ended`` where it was not and never will be, and with the effect
    ``unknown`` where nobody could be asked before the deadline.
    """
    outcome = outcome_of(pool, database, key, deadline)
    if outcome == "none":
        raise not_done(error, "commit") from error
    if outcome != "done":
        raise outcome_unknown(error, "commit") from error


def name_in_use(error: DatabaseError, effect: str) -> NameInUse:
    """Return the error for work that was sent once, and refused because of its key."""
    text = f"{error}. Another copy of this connection's state writes under its name; the work was not run"
    # Under the same name it would be refused again.
    return NameInUse(text, kind=error.kind, request_id=error.request_id, effect=effect)


def leaving_time_to_ask(deadline: Deadline) -> Deadline:
    """Return an earlier deadline: the rest is for the question, should the connection have fallen silent."""
    left = deadline.remaining()
    seconds = round(left - min(left / 4, _TIME_TO_ASK), 3)
    # Where nothing is left the error is to name the time that there was.
    return Deadline(seconds) if seconds else deadline


def outcome_of(pool: RelayPool, database: str, key: str, deadline: Deadline) -> str:
    """Return ``done``, ``none`` (nor will it ever be), or ``unknown`` where that could not be learned."""

    def ask() -> list[Answer]:
        session = pool.acquire(deadline)
        try:
            if not session.knows_keys:
                raise OperationalError("The relay's Worker is of a version that knows no keys")
            return session.request({"op": "outcome", "db": database, "key": key}, deadline)
        except DatabaseError as error:
            if error.kind == "overloaded":
                error.transient, error.retry_after = True, 1.0
            raise
        finally:
            pool.release(session)

    try:
        answers = with_retries(ask, reads_only=True, deadline=deadline, attempts=math.inf)
    except Error:
        return "unknown"
    return str(answers[0].rows[0][0])


class _Write:
    """A write on its way; ``doubt`` is the error after which it may have been carried out."""

    def __init__(self, pool: RelayPool, message: dict[str, Any], key: str) -> None:
        self._pool = pool
        self._message = message
        self._key = key
        self._answered = 0
        self.doubt: DatabaseError | None = None

    def attempt(self, deadline: Deadline) -> list[Answer]:
        """Send it once."""
        session = self._pool.acquire(deadline)
        try:
            if session.knows_keys:
                # Always there, so that a repetition is not larger than what passed before.
                message = {**self._message, "key": self._key, "again": self.doubt is not None}
                return session.request(message, leaving_time_to_ask(deadline))
            if self.doubt is not None:
                # During a deploy: the older Worker would run it a second time.
                raise outcome_unknown(self.doubt)
            return session.request(self._message, deadline)
        except DatabaseError as error:
            if error.kind == "stale_key" and self.doubt is None:
                raise name_in_use(error, "none") from error
            if error.effect != "unknown":
                raise
            if not session.knows_keys:
                raise outcome_unknown(error) from error
            self.doubt = error
            self._answered += error.kind is not None
            if self._answered >= _ATTEMPTS_OF_AN_ANSWER:
                error.transient = False
            raise
        finally:
            self._pool.release(session)


def _repeated(write: _Write, deadline: Deadline) -> list[Answer]:
    return with_retries(lambda: write.attempt(deadline), reads_only=True, deadline=deadline)


def _kept_answer(write: _Write, deadline: Deadline) -> list[Answer]:
    """Return the answer of a write that is known to be done; no failure to get it makes it undone."""
    try:
        return _repeated(write, deadline)
    except Error as error:
        if error.kind == "answer_lost":
            raise
        text = f"The write was carried out, once, but its answer was lost ({error})"
        raise OperationalError(text, kind="answer_lost", effect="done") from error


def not_done(error: DatabaseError, work: str) -> OperationalError:
    """Return the error for work that was not carried out, and never will be under its key."""
    return OperationalError(
        f"{error}. The relay was asked: the {work} was not carried out and will not be; it may be tried anew",
        kind=error.kind,
        request_id=error.request_id,
        effect="ended" if work == "commit" else "none",
        transient=True,
    )
