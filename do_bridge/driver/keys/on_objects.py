"""Writes to Durable Objects under idempotency keys.

The outcome of such a write can be looked up.
"""

from __future__ import annotations

import math
from typing import Any, Final

from do_bridge.driver.exceptions import DatabaseError, Error, OperationalError
from do_bridge.driver.transport import Answer, Deadline, outcome_unknown, with_retries
from do_bridge.driver.transports.relay_pool import RelayPool

from .clients import NameInUse

# Errors of an object that settle what became of a key's work. After all others the work never reached the
# object.
_SETTLED: Final = frozenset(
    {"sql", "foreign_key", "schema_mismatch", "too_large", "answer_lost", "stale_key"}
)
# After this number of errors from the object itself, another attempt would fail, too.
_ATTEMPTS_OF_AN_ANSWER: Final = 2

# Seconds.
_TIME_TO_ASK: Final = 5.0


def write_once(pool: RelayPool, message: dict[str, Any], key: str, deadline: Deadline) -> list[Answer]:
    """Send a write under its key until the deadline; return its results.

    It is sent again after a lost answer. The ``effect`` of an error is ``none`` if nothing was written and
    nothing will be, ``done`` if it was written and its results are lost, and ``unknown`` if the relay did not
    answer in time.
    """
    write = _Write(pool, message, key)
    try:
        return _repeated(write, deadline)
    except Error as error:
        if write.doubt is None or (error.kind in _SETTLED and error.effect != "unknown"):
            raise
        if error.kind == "schema_mismatch":
            # The keys may be elsewhere, with the tenant.
            raise
        doubt, last = write.doubt, error
    outcome = outcome_of(pool, message["db"], key, deadline, message.get("expect"))
    if outcome == "done":
        return _kept_answer(write, deadline)
    if outcome == "none":
        raise not_done(doubt, "write") from last
    raise outcome_unknown(doubt) from last


def settle_commit(
    pool: RelayPool,
    database: str,
    key: str,
    error: DatabaseError,
    deadline: Deadline,
    expect: str | None = None,
) -> None:
    """Return if a commit whose answer was lost was carried out.

    ``key`` is the key of the commit, ``error`` the error of the lost answer, ``expect`` the schema
    fingerprint with which the transaction began. Raises OperationalError with the effect ``ended`` if it was
    not carried out and never will be, and with the effect ``unknown`` if the relay did not answer before the
    deadline, or the object has been emptied.
    """
    outcome = outcome_of(pool, database, key, deadline, expect)
    if outcome == "none":
        raise not_done(error, "commit") from error
    if outcome != "done":
        raise outcome_unknown(error, "commit") from error


def answer_lost(error: DatabaseError) -> OperationalError:
    """Return the error for a last write that was carried out, and whose rows are lost."""
    return OperationalError(
        f"{error}. The transaction has been committed, but the answer to its last write is lost. Read the "
        "data",
        kind=error.kind,
        effect="done",
    )


def name_in_use(error: DatabaseError, effect: str) -> NameInUse:
    """Return the error for work that was sent once, and refused because of its key."""
    text = (
        f"{error}. Another copy of this connection's state writes under the same client name, and the "
        "work was not run. Open connections after a fork, and use each from one thread"
    )
    # Under the same name it would be refused again.
    return NameInUse(text, kind=error.kind, request_id=error.request_id, effect=effect)


def leaving_time_to_ask(deadline: Deadline) -> Deadline:
    """Return an earlier deadline, which leaves time to look up the outcome.

    The look-up is needed if the connection does not answer any more.
    """
    left = deadline.remaining()
    seconds = round(left - min(left / 4, _TIME_TO_ASK), 3)
    # With no time left, the error must name the timeout that there was.
    return Deadline(seconds) if seconds else deadline


def outcome_of(
    pool: RelayPool, database: str, key: str, deadline: Deadline, expect: str | None = None
) -> str:
    """Return the outcome of a write: ``done``, ``none`` or ``unknown``.

    ``none`` means that it never will be done, ``unknown`` that no answer came in time, or that the object has
    been emptied since, with its keys: then it has no schema, and should have ``expect``.
    """
    message = {"op": "outcome", "db": database, "key": key}
    if expect is not None:
        message["expect"] = expect

    def ask() -> list[Answer]:
        session = pool.acquire(deadline)
        try:
            return session.request(message, deadline)
        except DatabaseError as error:
            if error.kind == "overloaded":
                error.transient, error.retry_after = True, 1.0
            raise
        finally:
            pool.release(session)

    try:
        (answer,) = with_retries(ask, reads_only=True, deadline=deadline, attempts=math.inf)
    except Error:
        return "unknown"
    return str(answer.rows[0][0])


class _Write:
    """A write that is being sent.

    ``doubt`` is the error after which it may have been carried out.
    """

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
            # Both fields are always there, so that a repetition is not larger than the first request.
            message = {**self._message, "key": self._key, "again": self.doubt is not None}
            return session.request(message, leaving_time_to_ask(deadline))
        except DatabaseError as error:
            if error.kind == "stale_key" and self.doubt is None:
                raise name_in_use(error, "none") from error
            if error.effect != "unknown":
                raise
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
    """Return the answer of a write that is known to be done.

    If the answer can't be had, raises OperationalError with the effect ``done``.
    """
    try:
        return _repeated(write, deadline)
    except Error as error:
        if error.kind == "answer_lost":
            raise
        text = (
            f"The write was carried out once, but its answer was lost ({error}). Read the data before "
            "you go on"
        )
        raise OperationalError(text, kind="answer_lost", effect="done") from error


def not_done(error: DatabaseError, work: str) -> OperationalError:
    """Return the error for work that was not carried out.

    It never will be under its key.
    """
    return OperationalError(
        f"{error}. The {work} was not carried out and will not be. It is safe to try again",
        kind=error.kind,
        request_id=error.request_id,
        effect="ended" if work == "commit" else "none",
        transient=True,
    )
