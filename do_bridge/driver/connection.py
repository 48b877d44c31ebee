"""The PEP 249 connection to one database.

It runs statements, batches and transactions over a transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from . import exact
from .calls import Call, Timed, rows_needed
from .cursor import Cursor
from .exceptions import (
    Error,
    HasExceptions,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from .history import History
from .keys.clients import NameInUse, WriteKeys
from .keys.keyed import KeyedWrites
from .last_writes import LastWrites
from .limits import LONGEST_LEASE
from .many import run_many
from .places import check_name
from .replicas import InSessions
from .results import Result, decoded_rows, result_of
from .sql import Params, Statement, prepare
from .transaction import Transaction
from .transport import Answer, Deadline, RemoteTransaction, Transport, outcome_unknown

if TYPE_CHECKING:
    from .speculation.described import Descriptions

# A block of this many writes takes seconds on the local runtime; see docs/explanation/transactions.md.
MAX_WRITES: Final = 500


class Connection(HasExceptions, KeyedWrites, InSessions, LastWrites, History):
    """A connection to one database, an object or D1.

    Its name is ``do:<object>``, ``do:<object>@<jurisdiction>`` or ``d1:<id>``.

    Without ``begin()`` each statement, and each batch, commits by itself. ``timeout`` limits one call,
    ``lease`` one transaction, both in seconds. Use a connection from one thread at a time.

    ``expect`` is the schema fingerprint that an object must hold before anything runs there (empty: none).
    If the object holds another one, ``on_mismatch(found)`` may bring the schema up to date and return the
    fingerprint to expect from then on; the call is made again, once for each schema that is found. Without
    ``on_mismatch`` the call raises OperationalError of the kind ``schema_mismatch``, and nothing has run.

    ``write_keys``: each write to an object carries an idempotency key, at the cost of one row written. After
    a lost answer the driver sends it again, and it still runs once. Without a key, and on D1, the outcome of
    such a write is unknown.

    An object is part of its jurisdiction (`places.JURISDICTIONS`): another jurisdiction has another object of
    the same name. ``location`` is the hint (`places.LOCATIONS`) that goes with each batch, and with each
    transaction that begins later. It counts for the call that creates the object, and never moves one.

    Observers see ``name`` (``calls.observe``). ``on_call`` is called with a ``Call`` after each request; it
    must not use the connection. ``metered`` is called before each request and returns whether to count the
    rows read and written; by default observers decide. ``ahead`` returns a context manager that gives
    statements to run before those of a request, in the same round trip and as part of it; the request's
    failure or success ends the context. ``replicas`` is called before each request on D1 and returns the
    visitor's ``D1Session``, or None: then everything runs on the primary. Sessions need the relay.
    """

    def __init__(
        self,
        transport: Transport,
        database: str,
        *,
        timeout: float = 30.0,
        lease: float = 10.0,
        expect: str | None = None,
        write_keys: bool | None = None,
        optimistic: bool = False,
        max_writes: int = MAX_WRITES,
        location: str | None = None,
    ) -> None:
        check_name(database, location)
        if timeout <= 0:
            raise InterfaceError("timeout must be greater than 0 seconds")
        if not 0.1 <= lease <= LONGEST_LEASE:
            raise InterfaceError(
                "lease must be between 0.1 and 25 seconds, because the runtime ends transactions after 30"
            )
        self.transport = transport
        self.database = self.name = database
        self.timeout = timeout
        self.lease = lease
        self.expect = expect
        self.write_keys = database.startswith("do:") if write_keys is None else write_keys
        self.optimistic = optimistic and database.startswith("d1:")
        self._keyed_commits = write_keys is not False
        self.max_writes = max_writes
        self.location = location
        self.on_mismatch: Callable[[str], str | None] | None = None
        self.on_call: Callable[[Call], None] | None = None
        self.ahead: Callable[[], AbstractContextManager[Sequence[Statement]]] | None = None
        self.metered: Callable[[], bool] = rows_needed
        self.closed = False
        self._transaction: Transaction | None = None
        self._keys = WriteKeys()
        self._descriptions: Descriptions | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.database}{' closed' if self.closed else ''}>"

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def supports_transactions(self) -> bool:
        """Whether ``begin()`` works here: it does on Durable Objects, not on D1."""
        return self.optimistic or self.transport.supports_transactions(self.database)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, from ``begin()`` to commit or rollback."""
        return self._transaction is not None

    @property
    def can_join(self) -> bool:
        """Return whether a read may be sent with those of other connections.

        It may, unless a transaction is open.
        """
        return self._transaction is None

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        self._check_open()
        return Cursor(self)

    def execute(self, sql: str, params: Params | None = None) -> Cursor:
        """Execute on a new cursor and return it."""
        return self.cursor().execute(sql, params)

    def execute_batch(self, items: Iterable[tuple[str, Params | None]]) -> list[Result]:
        """Run several statements in one round trip and return a result for each.

        Outside a transaction they are one atomic unit. Inside one they are its next steps; those before a
        failed one stand until the caller rolls back.
        """
        self._check_open()
        return self.run([prepare(sql, params) for sql, params in items])

    def run(self, statements: Sequence[Statement]) -> list[Result]:
        """Run prepared statements as ``execute_batch`` does."""
        self._check_open()
        sent = [statement for statement in statements if statement.shape.verb]
        if not sent:
            return [Result([], [], -1, None) for _ in statements]
        deadline = Deadline(self.timeout)
        with self.ahead() if self.ahead is not None else nullcontext(()) as ahead:
            answers = self._send([*ahead, *sent], deadline)[len(ahead) :]
        results = iter(self.decode(sent, answers, deadline))
        return [next(results) if item.shape.verb else Result([], [], -1, None) for item in statements]

    def run_many(self, statements: Sequence[Statement]) -> list[Result]:
        """Run many statements as one atomic batch, split if it is too large.

        On a Durable Object a batch that has to be split runs in a transaction and stays atomic. D1 has no
        transactions: each chunk is atomic by itself, a warning is logged, and an error carries a note with
        the number of statements that have been carried out.
        """
        self._check_open()
        return run_many(self, statements)

    def size(self) -> int:
        """Return the number of bytes that the database takes on disk.

        One round trip, outside any transaction. Raises NotSupportedError if the transport cannot report them.
        """
        self._check_outside()
        with self._timed("size"):
            return self.transport.size(self.database, Deadline(self.timeout))

    def erase(self, fence: int | None = None) -> bool:
        """Delete the storage of a Durable Object, which is billed for it.

        One round trip, outside any transaction. With ``fence`` all data is deleted, unless the object has a
        higher fencing token; without it only an empty object is erased. Returns False, and does nothing, if
        the object refuses. A relay of an older version knows no fences, and refuses an object that has a
        table or view. Raises NotSupportedError if the transport cannot do this.
        """
        self._check_outside()
        with self._timed("erase"):
            return self.transport.erase(self.database, Deadline(self.timeout), fence=fence)

    def redirect(self, database: str) -> None:
        """Send what follows to another database, to which this one's content has moved.

        It does nothing in a transaction that has begun, which ends where it is.
        """
        transaction = self._transaction
        if transaction is None or not transaction.has_begun:
            self.database = database
            if transaction is not None:
                transaction.begin_by(self._remote_transaction(self.expect))

    def begin(self) -> None:
        """Begin a transaction with the next statement.

        Raises NotSupportedError on D1 and OperationalError inside a transaction.
        """
        self._check_open()
        if not self.supports_transactions:
            raise NotSupportedError(
                f"{self.database} has no interactive transactions here. Send writes that belong "
                "together with execute_batch()"
            )
        if self._transaction is not None:
            raise OperationalError("cannot start a transaction within a transaction")
        self._transaction = Transaction(self._remote_transaction(self.expect))

    def commit(self) -> None:
        """Commit the open transaction; without one this does nothing.

        After an error only ``rollback()`` is possible. If the answer is lost, the driver reads the outcome
        from the object. The outcome stays unknown only if the object does not answer in time, or if keys
        are off; the error's effect is then ``unknown``.
        """
        self._check_open()
        if self._transaction is not None:
            writes = self._transaction.writes and not self.optimistic
            key = self._key() if writes else None
            try:
                with self._watch("commit", self._transaction):
                    self._transaction.commit(Deadline(self.timeout), key or "")
            except NameInUse:
                self._keys.rename()
                raise
            except Error:
                raise
            except BaseException:
                # An interrupted commit may have been carried out, and a second one would be answered with a
                # rollback.
                self._transaction.abandon()
                self._transaction = None
                raise
            self._transaction = None

    def rollback(self) -> None:
        """Roll the open transaction back, if there is one and it is not lost."""
        self._check_open()
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with self._watch("rollback", transaction):
                # A dropped session rolls back as well, so there is no need to wait longer.
                transaction.rollback(Deadline(min(self.timeout, 5.0)))

    def savepoint(self, name: str) -> None:
        """Open a savepoint with the next statement."""
        self._in_transaction().savepoint(name)

    def release(self, name: str) -> None:
        """Release a savepoint."""
        self._in_transaction().release(name)

    def rollback_to(self, name: str) -> None:
        """Undo what was done since the savepoint, which stays open."""
        self._in_transaction().rollback_to(name)

    def close(self) -> None:
        """Roll back what is open and close; a second call does nothing."""
        if not self.closed:
            try:
                self.rollback()
            finally:
                self.closed = True
                self._keys.give_back()

    def _watch(self, operation: str, transaction: Transaction) -> AbstractContextManager[object]:
        # The end of a transaction that sent nothing needs no request.
        if not transaction.has_begun:
            return nullcontext()
        return self._timed(operation)

    def _timed(self, operation: str, statements: Sequence[Statement] = ()) -> Timed:
        return Timed(operation, self.database, self.on_call, statements, self.name)

    def _check_open(self) -> None:
        if self.closed:
            raise ProgrammingError("Cannot operate on a closed connection.")

    def _check_outside(self) -> None:
        self._check_open()
        if self._transaction is not None and self._transaction.has_begun and not self.optimistic:
            raise OperationalError(
                "A transaction of this connection is open, and the Durable Object answers nothing else until "
                "it ends. Call commit() or rollback() first"
            )

    def _in_transaction(self) -> Transaction:
        self._check_open()
        if self._transaction is None:
            raise OperationalError("No transaction is open. Call begin() first")
        return self._transaction

    def reserve_keys(self, table: str, count: int, above: int = 0) -> Sequence[int]:
        """Return unused keys of an AUTOINCREMENT table on D1.

        They stay reserved whatever becomes of an open transaction.
        """
        from .speculation.keys import reserve_keys

        with self._timed("reserve"):
            return reserve_keys(self._try, table, count, above, Deadline(self.timeout))

    def has_counted(self, table: str) -> bool:
        """Return whether the open block has seen a key of the table's counter.

        Its commit takes that key from the counter, so the block cannot reserve keys of this table any more.
        """
        return self._transaction is not None and self._transaction.has_counted(table)

    def _try(self, statements: Sequence[Statement], deadline: Deadline) -> list[Answer]:
        send = partial(
            self.transport.batch,
            self.database,
            statements,
            deadline,
            expect=self.expect,
            location=self.location,
        )
        return self._in_session(statements, send, primary=True)

    def _write_once(self, statements: Sequence[Statement], deadline: Deadline) -> list[Answer]:
        with self._with_keys(self._keyed_commits):
            return self._batch(statements, deadline, self.expect, self._key(), primary=True)

    def _remote_transaction(self, expect: str | None) -> RemoteTransaction:
        if self.optimistic:
            # Imported late: most processes begin no such transaction.
            from .speculation.described import Descriptions
            from .speculation.transaction import Speculation

            self._descriptions = self._descriptions or Descriptions()
            return Speculation(self._try, self._write_once, self._descriptions, self.max_writes)
        return self.transport.transaction(self.database, self.lease, expect=expect, location=self.location)

    def _send(self, statements: Sequence[Statement], deadline: Deadline) -> list[Answer]:
        expect, seen, key = self.expect, set[str](), self._key_of(statements)
        while True:
            try:
                return self._send_once(statements, deadline, expect, key)
            except OperationalError as error:
                begun = self._transaction is not None and self._transaction.has_begun
                found = error.found or ""
                if error.kind != "schema_mismatch" or begun or self.on_mismatch is None or found in seen:
                    raise
                refusal = error
            # Several migrations may finish while this call is on its way: each is another schema.
            seen.add(found)
            before = self.database
            expect = self.on_mismatch(found)
            if self.database == before:
                if refusal.effect == "unknown":
                    # The write may have run in an earlier life of the object.
                    if self._transaction is not None:
                        self._transaction.note(refusal)
                    raise outcome_unknown(refusal)
                key = self._key_of(statements)
            else:
                # Moved with its keys: a write whose answer was lost is recognized there, so the key stays.
                seen.clear()
            if self._transaction is not None:
                self._transaction.begin_by(self._remote_transaction(expect))
            # Migrating took time that does not count towards this call's timeout.
            deadline = Deadline(self.timeout)

    def _send_once(
        self, statements: Sequence[Statement], deadline: Deadline, expect: str | None, key: str | None
    ) -> list[Answer]:
        operation = "batch" if self._transaction is None else "tx"
        if self.metered():
            statements = [statement._replace(metered=True) for statement in statements]
        with self._timed(operation, statements) as call:
            if self._transaction is None:
                answers = self._batch(statements, deadline, expect, key)
            else:
                answers = self._run_inside(self._transaction, statements, deadline, expect, key)
            call.count(answers)
        return answers

    def _key_of(self, statements: Sequence[Statement]) -> str | None:
        """Return a new key for statements that write, and that are sent as a batch."""
        transaction = self._transaction
        is_batch = transaction is None or (not transaction.has_begun and self.is_last(statements[-1].sql))
        if not is_batch or all(statement.shape.reads_only for statement in statements):
            return None
        return self._key()

    def _batch(
        self,
        statements: Sequence[Statement],
        deadline: Deadline,
        expect: str | None,
        key: str | None,
        *,
        primary: bool = False,
    ) -> list[Answer]:
        send = partial(self._keyed_batch, statements, deadline, expect, key)
        return self._in_session(statements, send, primary=primary)

    def decode(
        self, statements: Sequence[Statement], answers: Sequence[Answer], deadline: Deadline
    ) -> list[Result]:
        """Return the results of answers.

        Large integers are read again, in another round trip.
        """
        decoded = [decoded_rows(answer) for answer in answers]
        doubtful = [columns for _, columns in decoded]
        rows = [rows for rows, _ in decoded]
        if any(doubtful):
            rows = exact.read_again(statements, answers, doubtful, lambda again: self._send(again, deadline))
        return [
            result_of(statement, answer, values)
            for statement, answer, values in zip(statements, answers, rows, strict=True)
        ]


#: The name that PEP 249 gives to opening a connection.
connect: Final = Connection
