"""Idempotency keys on D1.

A batch takes its key first, in SQL, and so runs once or never.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Final

from do_bridge.driver.exceptions import DatabaseError, Error, OperationalError
from do_bridge.driver.sql import Shape, Statement, is_several
from do_bridge.driver.transport import Answer, Deadline, outcome_unknown, with_retries

from .clients import PER_WRITE
from .on_objects import leaving_time_to_ask, name_in_use, not_done

Send = Callable[[Sequence[Statement], Deadline], list[Answer]]
"""Sends statements once, as one atomic batch."""

# The same table as in objects. SQL cannot keep an answer, so the column is NULL if the key was given up.
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS _do_bridge_keys (client TEXT PRIMARY KEY, n INTEGER NOT NULL, answer TEXT, "
    "at INTEGER NOT NULL) WITHOUT ROWID"
)
_PUT: Final = (
    "INSERT INTO _do_bridge_keys (client, n, answer, at) "
    "VALUES ((?1->>0), (?1->>1), (?1->>2), unixepoch() * 1000) ON CONFLICT (client) DO UPDATE "
    "SET n = excluded.n, answer = excluded.answer, at = excluded.at"
)
# A batch cannot branch: an invalid JSON path fails the whole batch if this key, or a later one, is there.
_REFUSED: Final = "do_bridge:key_"
_TAKE: Final = _PUT.replace(
    "SET n = excluded.n",
    f"SET n = CASE WHEN n < excluded.n THEN excluded.n ELSE json_extract('{{}}', '{_REFUSED}' || "
    "CASE WHEN n > excluded.n THEN 'stale' WHEN answer IS NULL THEN 'given_up' ELSE 'done' END) END",
)
_GIVE_UP: Final = f"{_PUT} WHERE n < excluded.n"
_LOOK: Final = "SELECT n, answer FROM _do_bridge_keys WHERE client = (?1->>0)"
# No client repeats a write for a whole day.
_FORGET: Final = "DELETE FROM _do_bridge_keys WHERE at < (unixepoch() - 86400) * 1000"
# A client's first write removes old keys, and after it about one write in this many.
_WRITES_A_FORGETTING: Final = 100

# With these errors the database itself refuses a batch, as it would have refused the one whose answer was
# lost.
_REFUSALS: Final = frozenset({"sql", "foreign_key"})

_WRITES: Final = Shape("INSERT", reads_only=False, counted=False)
_READS: Final = Shape("SELECT", reads_only=True, counted=False)


def write_once_on_d1(
    send: Send, statements: Sequence[Statement], key: str, deadline: Deadline
) -> list[Answer]:
    """Run statements as one batch under their key; return their results.

    After a lost answer they are sent again. The ``effect`` of an error is ``none`` (they did not run and
    never will), ``done`` (they ran once; their results are lost, because D1 keeps none), or ``unknown`` (D1
    did not answer in time).
    """
    if any(";" in statement.sql and is_several(statement.sql) for statement in statements):
        # Within a batch D1 returns no rows of a multi-statement text, so that text goes without a key.
        return with_retries(lambda: send(statements, deadline), reads_only=False, deadline=deadline)
    write = _Write(send, statements, key)
    try:
        return with_retries(lambda: write.attempt(deadline), reads_only=True, deadline=deadline)
    except Error as error:
        if write.doubt is None or error.effect == "done":
            raise
        doubt, last = write.doubt, error
    outcome = outcome_on_d1(send, key, deadline)
    if outcome == "none" and last.kind in _REFUSALS:
        raise last
    if outcome == "none":
        raise not_done(doubt, "write") from last
    raise (_done(doubt) if outcome == "done" else outcome_unknown(doubt)) from last


def outcome_on_d1(send: Send, key: str, deadline: Deadline) -> str:
    """Return the outcome of a write: ``done``, ``none`` or ``unknown``.

    ``none`` means that it never will be done, ``unknown`` that D1 did not answer in time.
    """
    client, n = _parts(key)
    wire = (json.dumps([client, n, None]),)
    steps = [
        Statement(_CREATE, (), _WRITES),
        Statement(_GIVE_UP, wire, _WRITES),
        Statement(_LOOK, wire, _READS),
    ]

    def ask() -> list[Answer]:
        try:
            return send(steps, deadline)
        except DatabaseError as error:
            if error.kind == "overloaded":
                error.transient, error.retry_after = True, 1.0
            raise

    try:
        # A second call returns the same.
        answers = with_retries(ask, reads_only=True, deadline=deadline, attempts=math.inf)
    except Error:
        return "unknown"
    ((last, answer),) = answers[2].rows
    if last != n:
        return "unknown"
    return "none" if answer is None else "done"


class _Write:
    """A write that is being sent.

    ``doubt`` is the error after which it may have been carried out.
    """

    def __init__(self, send: Send, statements: Sequence[Statement], key: str) -> None:
        self._send = send
        self._statements = statements
        client, n = _parts(key)
        self._before = [Statement(_TAKE, (json.dumps([client, n, "-"]),), _WRITES)]
        if n // PER_WRITE % _WRITES_A_FORGETTING == 1:
            self._before.append(Statement(_FORGET, (), _WRITES))
        self._creates = False
        self.doubt: DatabaseError | None = None

    def attempt(self, deadline: Deadline) -> list[Answer]:
        """Send it once."""
        try:
            answers = self._send([*self._before, *self._statements], leaving_time_to_ask(deadline))
        except DatabaseError as error:
            if error.effect == "unknown":
                self.doubt = error
                raise
            if "no such table: _do_bridge_keys" in str(error) and not self._creates:
                # The database's first key: its table is missing, nothing has run, and the batch is sent once
                # more.
                self._creates = True
                self._before.insert(0, Statement(_CREATE, (), _WRITES))
                error.transient, error.retry_after = True, 0.0
            told = self._judged(error)
            if told is error:
                raise
            raise told from error
        return answers[len(self._before) :]

    def _judged(self, error: DatabaseError) -> Error:
        """Return the error that a batch's refusal means for the write."""
        _, found, verdict = str(error).partition(_REFUSED)
        if not found:
            # The runtime names the failed step only if there are several.
            single = error.kind == "sql" and len(self._statements) == 1
            error.step = 0 if single and error.step is None else error.step
            return error
        error.kind = "stale_key"
        if verdict.startswith("done"):
            return _done(self.doubt or error)
        if self.doubt is None:
            return name_in_use(error, "none")
        return error


def _done(error: DatabaseError) -> OperationalError:
    text = (
        f"The write was carried out once, but its answer was lost ({error}). Read the data before you go on"
    )
    return OperationalError(text, kind="answer_lost", request_id=error.request_id, effect="done")


def _parts(key: str) -> tuple[str, int]:
    client, _, n = key.partition(":")
    return client, int(n)
