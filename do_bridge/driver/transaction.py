"""One open transaction.

It records what was sent, what is sent with the next statement, and whether it is alive.
"""

from __future__ import annotations

from collections.abc import Sequence

from .exceptions import Error, OperationalError
from .sql import Statement
from .transport import Answer, Control, Deadline, RemoteTransaction, Step


class Transaction:
    """A transaction that begins with its first statement.

    Savepoints are sent with the next statement, or never.
    """

    def __init__(self, remote: RemoteTransaction) -> None:
        self._remote = remote
        self._pending: list[Control] = []
        self._savepoints: list[str] = []
        self._sent = False
        self._ended_by: Error | None = None
        self.writes = False
        """Whether a statement of it may have written something."""
        self.is_committed = False
        """Whether it was committed together with its last write."""

    def run(self, statements: Sequence[Statement], deadline: Deadline) -> list[Answer]:
        """Run statements, after the savepoint steps that wait, in one round trip."""
        steps: list[Step] = [*self._pending, *statements]
        self.writes = self.writes or not all(statement.shape.reads_only for statement in statements)
        answers = self._run(steps, deadline)
        return answers[len(steps) - len(statements) :]

    @property
    def has_begun(self) -> bool:
        """Whether a part of it has reached the database, where it is open."""
        return self._sent and not self.is_committed

    def run_last(self, statements: Sequence[Statement], deadline: Deadline, key: str = "") -> list[Answer]:
        """Run statements and commit, in one round trip.

        ``key`` is the idempotency key of the commit, in case the answer is lost.
        """
        steps: list[Step] = [*self._pending, *statements, Control("commit", key=key)]
        answers = self._run(steps, deadline)
        self.is_committed = True
        return answers[len(steps) - len(statements) - 1 : -1]

    def has_counted(self, table: str) -> bool:
        """Return whether it has returned a key of the table's counter."""
        return self._remote.has_counted(table)

    def begin_by(self, remote: RemoteTransaction) -> None:
        """Begin with another remote transaction, if the first has not begun."""
        self._remote = remote

    def savepoint(self, name: str) -> None:
        """Open a savepoint with the next statement."""
        self._check_alive()
        self._refuse_more()
        self._savepoints.append(name)
        self._pending.append(Control("savepoint", name))

    def release(self, name: str) -> None:
        """Release a savepoint with the next statement; forget one that was never sent."""
        self._check_alive()
        if self.is_committed:
            return
        self._savepoints = self._savepoints[: self._depth(name)]
        at = self._waiting(name)
        if at is not None:
            del self._pending[at:]
            return
        self._pending = [*self._closing(), Control("release", name)]

    def rollback_to(self, name: str) -> None:
        """Undo with the next statement what was done since the savepoint; it stays open."""
        self._check_alive()
        self._refuse_more()
        self._savepoints = self._savepoints[: self._depth(name) + 1]
        at = self._waiting(name)
        if at is not None:
            del self._pending[at + 1 :]
            return
        # Close savepoints that wait to be closed: the object may hold another one of this name further
        # inside.
        undo = Control("rollback_to", name)
        closing = self._closing()
        self._pending = closing if closing[-1:] == [undo] else [*closing, undo]

    def commit(self, deadline: Deadline, key: str = "") -> None:
        """Commit, without a round trip if nothing was written.

        ``key`` is the idempotency key of the commit, in case the answer is lost.
        """
        self._check_alive()
        if not self._sent or self.is_committed:
            return
        if not self.writes:
            # It has its answers already.
            self._remote.leave(deadline)
            return
        closing = self._closing()
        undoes = any(step.verb == "rollback_to" for step in closing)
        self._run([*(closing if undoes else ()), Control("commit", key=key)], deadline)

    def rollback(self, deadline: Deadline) -> None:
        """Roll back, without a round trip.

        Do nothing if the transaction has ended already.
        """
        if not self._sent or self.is_committed:
            return
        if self._ended_by is not None:
            self._remote.abandon()
            return
        self._remote.leave(deadline)

    def abandon(self) -> None:
        """End a transaction whose state is unknown."""
        self._remote.abandon()

    def _run(self, steps: list[Step], deadline: Deadline) -> list[Answer]:
        self._check_alive()
        self._refuse_more()
        try:
            answers = self._remote.run(steps, deadline)
            self._sent = True
            self._pending.clear()
        except Error as error:
            self.note(error)
            raise
        except BaseException:
            # The interrupted call may have been carried out, and a savepoint that counts as unsent may be
            # open.
            self._remote.abandon()
            if self._sent:
                text = "A call was interrupted, and the transaction was rolled back"
                self._ended_by = OperationalError(text, effect="ended")
            raise
        return answers

    def note(self, error: Error) -> None:
        """Take what an error of one of its requests means for it."""
        if error.effect == "statement":
            self._sent = True
            del self._pending[: error.step or 0]
        elif error.effect in ("ended", "done", "unknown"):
            self._sent = True
            self._ended_by = error

    def _check_alive(self) -> None:
        if self._ended_by is not None:
            raise OperationalError(
                f"The transaction has ended. Roll back before you go on. It ended with: {self._ended_by}",
                kind=self._ended_by.kind or "no_transaction",
                effect="ended",
            ) from self._ended_by

    def _refuse_more(self) -> None:
        if self.is_committed:
            raise OperationalError(
                "The block was committed together with the write that was declared its last. Make this write "
                "before that one, or in a block of its own",
                effect="statement",
            )

    def _closing(self) -> list[Control]:
        """Return the waiting steps about savepoints that the object holds."""
        return [step for step in self._pending if step.verb != "savepoint"]

    def _depth(self, name: str) -> int:
        if name not in self._savepoints:
            raise OperationalError(f"no such savepoint: {name}")
        return len(self._savepoints) - 1 - self._savepoints[::-1].index(name)

    def _waiting(self, name: str) -> int | None:
        places = [at for at, step in enumerate(self._pending) if step == Control("savepoint", name)]
        return places[-1] if places else None
