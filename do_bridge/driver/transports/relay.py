"""The relay transport.

Statements and transactions use the process's pool of relay sessions.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from do_bridge.driver.exceptions import DatabaseError, Error, OperationalError
from do_bridge.driver.keys.on_d1 import write_once_on_d1
from do_bridge.driver.keys.on_objects import (
    answer_lost,
    leaving_time_to_ask,
    name_in_use,
    settle_commit,
    write_once,
)
from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import (
    Answer,
    Control,
    Deadline,
    ReadRequest,
    RemoteTransaction,
    Step,
    Transport,
    check_token,
    outcome_unknown,
    with_retries,
)

from .relay_pool import RelayPool
from .secret import Secret
from .wire import shown, wire_steps

if TYPE_CHECKING:
    from .relay_session import RelaySession

_OVER: Final = frozenset({"no_transaction", "lease_expired"})
_ENDS: Final = frozenset({"commit", "rollback"})


class RelayTransport(Transport):
    """A relay Worker.

    ``url`` is its address (http, https, ws or wss); times are in seconds.
    """

    def __init__(self, url: str, token: str, *, pool_size: int = 32, connect_timeout: float = 10.0) -> None:
        token = Secret(token)
        check_token(token, "RELAY_TOKEN")
        self.pool = RelayPool(url, token, size=pool_size, connect_timeout=connect_timeout)

    def __repr__(self) -> str:
        return f"<RelayTransport {shown(self.pool.url)} pool_size={self.pool.size}>"

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
        """Run the statements as one atomic unit."""
        optional = _set(expect=expect, location=location, session=session)
        message: dict[str, Any] = {"op": "batch", "db": database, **optional}
        message["steps"] = wire_steps(statements)
        if key is not None and database.startswith("d1:"):
            return write_once_on_d1(
                lambda steps, until: self._ask_once({**message, "steps": wire_steps(steps)}, until),
                statements,
                key,
                deadline,
            )
        if key is not None:
            return write_once(self.pool, message, key, deadline)
        return self._ask(
            message, deadline, reads_only=all(statement.shape.reads_only for statement in statements)
        )

    def together(self, requests: Sequence[ReadRequest], deadline: Deadline) -> list[list[Answer] | Error]:
        """Run reads of several databases in one round trip."""
        messages = [
            {
                "op": "batch",
                "db": request.database,
                **_set(expect=request.expect, session=request.session),
                "steps": wire_steps(request.statements),
            }
            for request in requests
        ]
        return with_retries(lambda: self._ask_all(messages, deadline), reads_only=True, deadline=deadline)

    def size(self, database: str, deadline: Deadline) -> int:
        """Return the bytes that the database takes on disk."""
        answers = self._ask({"op": "size", "db": database}, deadline, reads_only=True)
        return int(answers[0].rows[0][0])

    def jurisdiction_of(self, database: str, deadline: Deadline) -> str | None:
        """Return the jurisdiction that the runtime itself reports for an object, or None."""
        answers = self._ask({"op": "place", "db": database}, deadline, reads_only=True)
        found = answers[0].rows[0][0]
        return None if found is None else str(found)

    def erase(self, database: str, deadline: Deadline, *, fence: int | None = None) -> bool:
        """Delete an object's storage; return False if the object refuses."""
        message: dict[str, Any] = {"op": "erase", "db": database}
        if fence is not None:
            message["fence"] = fence
        # Erasing twice does no harm, so it is repeated as a read is.
        answers = self._ask(message, deadline, reads_only=True)
        return bool(answers[0].rows[0][0])

    def bookmarks(
        self, databases: Sequence[str], deadline: Deadline, *, at: int | None = None
    ) -> list[str | Error]:
        """Return the bookmark of each object, or its error."""
        self._refuse_d1(*databases)
        moment = {} if at is None else {"at": at}
        messages = [{"op": "bookmark", "db": database, **moment} for database in databases]
        if len(messages) == 1:
            return [_bookmark(self._ask(messages[0], deadline, reads_only=True))]
        answers = with_retries(lambda: self._ask_all(messages, deadline), reads_only=True, deadline=deadline)
        return [answer if isinstance(answer, Error) else _bookmark(answer) for answer in answers]

    def restore(
        self, database: str, bookmark: str, deadline: Deadline, *, first: Sequence[Statement] = ()
    ) -> str:
        """Take an object back to a bookmark; return the bookmark that undoes it."""
        self._refuse_d1(database)
        message = {"op": "restore", "db": database, "bookmark": bookmark, "steps": wire_steps(first)}
        return _bookmark(self._ask(message, deadline, reads_only=False))

    def _refuse_d1(self, *databases: str) -> None:
        for database in databases:
            if not database.startswith("do:"):
                super().restore(database, "", Deadline(0))

    def _ask(self, message: dict[str, Any], deadline: Deadline, *, reads_only: bool) -> list[Answer]:
        return with_retries(
            lambda: self._ask_once(message, deadline), reads_only=reads_only, deadline=deadline
        )

    def _ask_once(self, message: dict[str, Any], deadline: Deadline) -> list[Answer]:
        session = self.pool.acquire(deadline)
        try:
            return session.request(message, deadline)
        finally:
            self.pool.release(session)

    def _ask_all(self, messages: Sequence[dict[str, Any]], deadline: Deadline) -> list[list[Answer] | Error]:
        session = self.pool.acquire(deadline)
        try:
            return session.request_all(messages, deadline)
        finally:
            self.pool.release(session)

    def transaction(
        self, database: str, lease: float, *, expect: str | None = None, location: str | None = None
    ) -> RemoteTransaction:
        """Return a transaction of a Durable Object."""
        if not self.supports_transactions(database):
            return super().transaction(database, lease)
        return RelayTransaction(self.pool, database, lease, expect, location)

    def supports_transactions(self, database: str) -> bool:
        """Durable Objects have transactions, D1 has none."""
        return database.startswith("do:")

    def max_request(self, deadline: Deadline) -> int:
        """Return the size of the largest request that the relay accepts.

        It comes with the handshake of a session.
        """
        session = self.pool.acquire(deadline)
        try:
            return session.max_message
        finally:
            self.pool.release(session)

    def close(self) -> None:
        """Close all sessions of this process."""
        self.pool.close()


class RelayTransaction(RemoteTransaction):
    """A transaction on one session, which it holds from its first request to its end."""

    # Set here, in case the constructor is interrupted.
    _session: RelaySession | None = None

    def __init__(
        self,
        pool: RelayPool,
        database: str,
        lease: float,
        expect: str | None = None,
        location: str | None = None,
    ) -> None:
        self._pool = pool
        self._conditions = _set(expect=expect, location=location)
        self._database = database
        self._lease_ms = round(lease * 1000)
        self._name = ""

    def __del__(self) -> None:
        # A forgotten transaction must not continue in a session that other threads get.
        self.abandon()

    def run(self, steps: Sequence[Step], deadline: Deadline) -> list[Answer]:
        """Run steps; the first request begins the transaction."""
        if self._session is None:
            return with_retries(lambda: self._begin(steps, deadline), reads_only=False, deadline=deadline)
        self._session.catch_up()
        last = steps[-1]
        key = last.key if isinstance(last, Control) else ""
        try:
            answers = self._request(self._session, steps, leaving_time_to_ask(deadline) if key else deadline)
        except Error as error:
            told = self._judged(error, steps)
            if told.effect in ("ended", "unknown"):
                self._let_go()
            if key and told.effect == "unknown" and isinstance(error, DatabaseError):
                expect = self._conditions.get("expect")
                settle_commit(self._pool, self._database, key, error, deadline, expect)
                if any(isinstance(step, Statement) for step in steps):
                    raise answer_lost(error) from error
                return [Answer() for _ in steps]
            if error.kind == "stale_key" and isinstance(error, DatabaseError):
                raise name_in_use(error, "ended") from error
            if told is error:
                raise
            raise told from error
        if isinstance(last, Control) and last.verb in _ENDS:
            self._let_go()
        return answers

    def abandon(self) -> None:
        """Roll back by closing the session, once no other call holds it."""
        if self._session is not None:
            self._session.retired = True
            self._let_go()

    def leave(self, deadline: Deadline) -> None:
        """Send the rollback; without the session the relay rolls back by itself."""
        if self._session is None:
            return
        message = {"op": "tx", "db": self._database, "tx": self._name, "steps": [{"rollback": True}]}
        try:
            self._session.post(message, deadline)
        except Error:
            self.abandon()
        else:
            self._let_go()

    def _begin(self, steps: Sequence[Step], deadline: Deadline) -> list[Answer]:
        session = self._session = self._pool.acquire(deadline)
        self._name = session.new_transaction_name()
        opening = {"begin": True, "lease_ms": self._lease_ms, **self._conditions}
        try:
            return self._request(session, steps, deadline, **opening)
        except Error as error:
            if error.effect != "statement":
                # Nothing had been committed, so everything is undone and may begin again.
                error.effect = "none"
                self._let_go()
            raise
        except BaseException:
            # If interrupted, it may have begun.
            self.abandon()
            raise

    def _request(
        self, session: RelaySession, steps: Sequence[Step], deadline: Deadline, **opening: object
    ) -> list[Answer]:
        message = {"op": "tx", "db": self._database, "tx": self._name, **opening, "steps": wire_steps(steps)}
        return session.request(message, deadline)

    def _judged(self, error: Error, steps: Sequence[Step]) -> Error:
        """Return the error with the effect that it has on the whole transaction."""
        if error.kind in _OVER:
            error.effect = "ended"
        commits = any(isinstance(step, Control) and step.verb == "commit" for step in steps)
        lost = self._session is None or not self._session.usable
        if commits and error.effect == "unknown" and isinstance(error, DatabaseError):
            return outcome_unknown(error, "commit")
        if lost and error.effect in ("none", "unknown"):
            text = f"{error}. The transaction was lost with its relay session and has been rolled back"
            return OperationalError(text, kind=error.kind, effect="ended")
        return error

    def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._pool.release(session)


def _set(**fields: str | None) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _bookmark(answers: Sequence[Answer]) -> str:
    return str(answers[0].rows[0][0])


_transports: dict[tuple[str, str], RelayTransport] = {}


def relay(url: str, token: str, *, pool_size: int = 32, connect_timeout: float = 10.0) -> RelayTransport:
    """Return this process's transport for a relay and a token.

    A later call may enlarge its pool.
    """
    token = Secret(token)
    made = RelayTransport(url, token, pool_size=pool_size, connect_timeout=connect_timeout)
    transport = _transports.setdefault((url, token), made)
    transport.pool.size = max(transport.pool.size, pool_size)
    return transport


@atexit.register
def _close_all() -> None:
    for transport in _transports.values():
        transport.close()
