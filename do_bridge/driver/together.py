"""Run reads of several connections in one round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .calls import Timed
from .connection import Connection
from .exceptions import Error, NotSupportedError
from .limits import chunks_by_weight
from .replicas import FIRST_PRIMARY, D1Session, constraint_for, take
from .results import Result
from .sql import Statement
from .transport import Answer, Deadline, ReadRequest, Transport, size_of

#: What became of a statement.
Outcome = Result | Error
Part = tuple[Connection, Sequence[Statement]]

# Bytes and requests that are sent before their answers are read: the relay holds the answers in its memory.
_BYTES: Final = 1_000_000
_REQUESTS: Final = 64


def run_together(parts: Sequence[Part]) -> list[list[Outcome]]:
    """Run each connection's reads; return a list of outcomes for each part, in order.

    Requests of connections that share a relay travel in one round trip, each database's statements as one
    request. A connection with an open transaction runs them as one request of it. What failed is run again by
    itself, with the retries and the migration on first use that any statement has.
    """
    outcomes: list[list[Outcome]] = [[] for _ in parts]
    joined: dict[int, list[int]] = {}
    for place, (connection, statements) in enumerate(parts):
        if connection.can_join and not _has_something_ahead(connection):
            joined.setdefault(id(connection.transport), []).append(place)
        else:
            outcomes[place] = _run_alone(connection, statements)
    for places in joined.values():
        for chunk in _chunks(places, parts):
            for place, found in zip(chunk, _run_joined([parts[place] for place in chunk]), strict=True):
                outcomes[place] = found
    return outcomes


class _SomethingAhead(Exception):
    """The exception that ends a context without sending its waiting statements.

    They cannot be sent now, so they go on waiting.
    """


def _has_something_ahead(connection: Connection) -> bool:
    if connection.ahead is None:
        return False
    try:
        with connection.ahead() as ahead:
            if ahead:
                raise _SomethingAhead
    except _SomethingAhead:
        return True
    return False


def _chunks(places: list[int], parts: Sequence[Part]) -> Iterator[Sequence[int]]:
    return chunks_by_weight(places, lambda place: size_of(parts[place][1]), _BYTES, _REQUESTS)


def _run_joined(parts: Sequence[Part]) -> list[list[Outcome]]:
    try:
        answers = _send(parts[0][0].transport, parts) if len(parts) > 1 else [None]
    except Error as error:
        # The relay could not be reached, in spite of all retries.
        return [[error] * len(statements) for _, statements in parts]
    return [
        _run_alone(connection, statements) if answer is None else _decoded(connection, statements, answer)
        for (connection, statements), answer in zip(parts, answers, strict=True)
    ]


def _send(transport: Transport, parts: Sequence[Part]) -> list[list[Answer] | None]:
    """Return the answers to each part, or None for a part to be run by itself."""
    requests, timed = [], []
    sessions: list[tuple[D1Session | None, int | None]] = []
    for connection, statements in parts:
        metered = connection.metered()
        sent = [statement._replace(metered=True) for statement in statements] if metered else statements
        session = connection.d1_session()
        constraint = None if session is None else constraint_for(session, statements)
        sessions.append((session, session.losses if session and constraint == FIRST_PRIMARY else None))
        requests.append(ReadRequest(connection.database, sent, connection.expect, constraint))
        timed.append(Timed("batch", connection.database, connection.on_call, statements, connection.name))
    deadline = Deadline(max(connection.timeout for connection, _ in parts))
    try:
        answers = transport.together(requests, deadline)
    except NotSupportedError:
        return [None] * len(parts)
    found: list[list[Answer] | None] = []
    for watch, answer, (session, covers) in zip(timed, answers, sessions, strict=True):
        if isinstance(answer, Error):
            found.append(None)
            continue
        if session is not None:
            take(session, answer, covers)
        watch.call.count(answer)
        watch.__exit__(None)
        found.append(answer)
    return found


def _decoded(
    connection: Connection, statements: Sequence[Statement], answers: Sequence[Answer]
) -> list[Outcome]:
    try:
        return [*connection.decode(statements, answers, Deadline(connection.timeout))]
    except Error:
        # An integer that JSON may have rounded, in one of them.
        return _one_by_one(connection, statements)


def _run_alone(connection: Connection, statements: Sequence[Statement]) -> list[Outcome]:
    try:
        return [*connection.run(statements)]
    except Error as error:
        # The others of its request have no answer, and reads may be repeated.
        return [error] if len(statements) == 1 else _one_by_one(connection, statements)


def _one_by_one(connection: Connection, statements: Sequence[Statement]) -> list[Outcome]:
    return [_run_alone(connection, [statement])[0] for statement in statements]
