"""The commit of a transaction together with its last write.

It saves a round trip if the last write is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .exceptions import Error
from .sql import Statement
from .transaction import Transaction
from .transport import Answer, Deadline


class LastWrites:
    """The part of a Connection that commits together with a declared last write."""

    optimistic: bool
    _transaction: Transaction | None
    _last: tuple[str, ...] = ()

    @contextmanager
    def last_write(self, *beginnings: str) -> Iterator[None]:
        """Commit the transaction together with its last write.

        This is the next write whose SQL begins with one of `beginnings`. After that write the transaction
        refuses others, and reads run outside of it. If it has run nothing before, the write runs by itself,
        because a request is atomic. An optimistic transaction that has run something commits as usual.
        """
        before, self._last = self._last, beginnings
        try:
            yield
        finally:
            self._last = before

    def is_last(self, sql: str) -> bool:
        """Return whether this statement commits the open transaction."""
        transaction = self._transaction
        if transaction is None or not self._last or not sql.startswith(self._last):
            return False
        return not transaction.is_committed and not (self.optimistic and transaction.has_begun)

    def _run_inside(
        self,
        transaction: Transaction,
        statements: Sequence[Statement],
        deadline: Deadline,
        expect: str | None,
        key: str | None,
    ) -> list[Answer]:
        """Run statements of the open transaction, or beside it.

        `key` is that of a batch that writes.
        """
        if not self.is_last(statements[-1].sql):
            reads_only = all(statement.shape.reads_only for statement in statements)
            if transaction.is_committed and reads_only:
                return self._batch(statements, deadline, expect, None)
            return transaction.run(statements, deadline)
        if transaction.has_begun:
            return transaction.run_last(statements, deadline, self._key() or "")
        try:
            answers = self._batch(statements, deadline, expect, key)
        except Error as error:
            # It may have been carried out, and then the transaction is over. A tenant that is elsewhere now
            # gets the write there.
            if error.kind != "schema_mismatch":
                transaction.note(error)
            raise
        transaction.is_committed = True
        return answers

    def _batch(
        self, statements: Sequence[Statement], deadline: Deadline, expect: str | None, key: str | None
    ) -> list[Answer]:
        raise NotImplementedError

    def _key(self) -> str | None:
        raise NotImplementedError
