"""Sessions of D1: what a request demands of a replica, and what it has reached.

Their consistency: https://developers.cloudflare.com/d1/best-practices/read-replication/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .exceptions import Error

if TYPE_CHECKING:
    from .sql import Statement
    from .transport import Answer

#: https://developers.cloudflare.com/d1/worker-api/d1-database/#withsession: any other text is a bookmark.
FIRST_PRIMARY: Final = "first-primary"
FIRST_UNCONSTRAINED: Final = "first-unconstrained"

_VERBS: Final = frozenset({"SELECT", "VALUES"})
# Statements that read the schema precede a change of it, or a comparison with the code's.
_SCHEMA: Final = ("sqlite_", "pragma")
# The kinds of errors with which a replica or the relay refuses a bookmark.
_REFUSED: Final = frozenset({"bad_session", "bad_request", "internal"})
# A replica may lack the latest migration.
_BEHIND: Final = ("no such table", "no such column")


class Reached(NamedTuple):
    """What the answer of a request in a session of D1 reports.

    ``bookmark`` is the version of the database that it has seen, or None. ``region`` and ``primary`` (whether
    the primary has served all statements) are None if the relay could not find them out.
    """

    bookmark: str | None
    region: str | None = None
    primary: bool | None = None


class D1Session(Protocol):
    """What one visitor has seen of a D1 database; several threads may use it at once.

    ``losses`` counts the calls of ``lost``.
    """

    losses: int

    def constraint(self, statements: Sequence[Statement]) -> str:
        """Return the constraint or the bookmark for statements that only read."""

    def seen(self, bookmark: str, covers: int | None) -> None:
        """Take the bookmark of an answer.

        ``covers`` is the number of losses that it makes good, or None: an answer of the primary is newer than
        all that was lost before its request.
        """

    def lost(self) -> None:
        """Note that the database may have a version whose bookmark is not known."""

    def refused(self) -> None:
        """Forget the bookmark, which D1 has refused."""


class InSessions:
    """The part of a connection that handles sessions of D1."""

    replicas: Callable[[], D1Session | None] | None = None

    def d1_session(self) -> D1Session | None:
        """Return the session of D1 for the next request, or None for the primary."""
        return None if self.replicas is None else self.replicas()

    def _in_session(
        self, statements: Sequence[Statement], send: Callable[..., list[Answer]], *, primary: bool = False
    ) -> list[Answer]:
        session = self.d1_session()
        if session is None:
            return send()
        return in_session(session, statements, lambda text: send(session=text), primary=primary)


def in_session(
    session: D1Session,
    statements: Sequence[Statement],
    send: Callable[[str], list[Answer]],
    *,
    primary: bool = False,
) -> list[Answer]:
    """Send statements with the constraint of a session, and return their answers.

    Statements that write go to the primary, as all do with ``primary``. If a replica cannot answer, because
    it refuses the bookmark or lacks a table, the primary is asked once.
    """
    constraint = FIRST_PRIMARY if primary else constraint_for(session, statements)
    before = session.losses
    try:
        answers = send(constraint)
    except BaseException as error:
        if primary or not all(statement.shape.reads_only for statement in statements):
            # It may have been written, and what the error carries is newer than all bookmarks.
            session.lost()
        if constraint == FIRST_PRIMARY or not isinstance(error, Error) or not _primary_knows_more(error):
            raise
        if error.kind in _REFUSED:
            session.refused()
        constraint, before = FIRST_PRIMARY, session.losses
        answers = send(constraint)
    take(session, answers, before if constraint == FIRST_PRIMARY else None)
    return answers


def take(session: D1Session, answers: Sequence[Answer], covers: int | None) -> None:
    """Give a session the bookmark of answers; see ``D1Session.seen``."""
    reached = answers[0].reached if answers else None
    if reached is not None and reached.bookmark:
        session.seen(reached.bookmark, covers)
    else:
        # A relay of an older version has read from the primary, and returns no bookmark.
        session.lost()


def constraint_for(session: D1Session, statements: Sequence[Statement]) -> str:
    """Return the constraint for statements.

    Those that write, or read the schema, go to the primary.
    """
    if all(_may_be_behind(statement) for statement in statements):
        return session.constraint(statements)
    return FIRST_PRIMARY


def _may_be_behind(statement: Statement) -> bool:
    """Return whether a replica may answer a statement."""
    if not statement.shape.reads_only or statement.shape.verb not in _VERBS:
        return False
    sql = statement.sql.lower()
    return not any(word in sql for word in _SCHEMA)


def _primary_knows_more(error: Error) -> bool:
    if error.kind == "sql":
        return any(words in str(error) for words in _BEHIND)
    return error.kind in _REFUSED
