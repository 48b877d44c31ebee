"""An open block on D1.

Each statement is tried in a batch that is rolled back, and commit is one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from do_bridge.driver import codec
from do_bridge.driver.exceptions import Error, IntegrityError, NotSupportedError, OperationalError
from do_bridge.driver.sql import Statement, is_several
from do_bridge.driver.transport import Answer, Control, Deadline, RemoteTransaction, Step

from . import returning
from .carrying import DEFER, HARMLESS, Carried, Send, carry, ending, is_too_big, new_nonce
from .conflict import TransactionConflict
from .described import Descriptions, as_select, wrong_width
from .history import History, Read, Write, fits_one_message
from .moments import is_random, with_moment
from .reading import long_parts
from .texts import Row, as_plain, rows_of, text_query, unreadable, values

T = TypeVar("T")

_WRAPPABLE: Final = frozenset({"SELECT", "VALUES", "WITH"})
_COUNTED: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_TOLD: Final = "_do_bridge_told"
_CREATE: Final = Statement(f"CREATE TABLE {_TOLD} (n INTEGER PRIMARY KEY, changes, row_id, t)", (), HARMLESS)
_NOTE_COUNTS: Final = f"INSERT INTO {_TOLD} SELECT {{n}}, changes(), last_insert_rowid(), ''"
_VIOLATION: Final = "\"table\" || ' row ' || coalesce(rowid, '?') || ' -> ' || parent"
_DANGLING: Final = Statement(
    f"SELECT json_extract('{{}}', 'do_bridge:foreign_key; ' || group_concat({_VIOLATION}, ', ')) "
    "FROM (SELECT * FROM pragma_foreign_key_check LIMIT 5) HAVING count(*) > 0",
    (),
    HARMLESS,
)


class Speculation(RemoteTransaction):
    """A transaction of D1 that holds nothing there.

    See ``docs/explanation/transactions.md``.

    ``send`` sends statements as one atomic batch and repeats it after a lost answer; ``write`` sends a batch
    that runs once or never. ``max_writes`` is the largest number of statements that a block repeats.
    """

    def __init__(self, send: Send, write: Send, descriptions: Descriptions, max_writes: int) -> None:
        self._send = send
        self._write = write
        self._descriptions = descriptions
        self._max_writes = max_writes
        self._history = History()

    def run(self, steps: Sequence[Step], deadline: Deadline) -> list[Answer]:
        """Run steps in order; only a commit changes the database."""
        answers: list[Answer] = []
        one_by_one = 0
        while len(answers) < len(steps):
            place = len(answers)
            step = steps[place]
            if isinstance(step, Control):
                answers.append(self._control(step, deadline))
                continue
            together = self._together(steps[place:]) if place >= one_by_one else [step]
            try:
                answers += self._run([with_moment(statement) for statement in together], deadline)
            except Error as error:
                if error.kind == "sql" and len(together) > 1:
                    # Those before the one that fails stand.
                    one_by_one = place + len(together)
                    continue
                if error.effect not in ("ended", "done") and error.kind != "unreadable":
                    # Nothing was written, so the block may go on.
                    error.effect, error.step = "statement", place
                raise
        return answers

    def has_counted(self, table: str) -> bool:
        """Return whether the block has seen a key that the table's counter gave."""
        for write in self._history.writes:
            looked_at = write.row_id is not None
            if table == (returning.table_of(write.statements[0]) if looked_at else write.counted):
                return True
        return False

    def abandon(self) -> None:
        """Forget everything; D1 holds nothing of it."""
        self._history = History()

    def _control(self, step: Control, deadline: Deadline) -> Answer:
        if step.verb == "commit":
            self._commit(deadline)
        elif step.verb == "rollback":
            self.abandon()
        else:
            getattr(self._history, step.verb)(step.name)
        return Answer()

    def _together(self, steps: Sequence[Step]) -> list[Statement]:
        """Return the first steps that one round trip can run.

        They are plain reads, or writes without rows.
        """
        kinds = (self._is_plain, _is_plain_write)
        kind = next((kind for kind in kinds if kind(steps[0])), None)
        together: list[Statement] = []
        for step in steps:
            if isinstance(step, Control) or (together and (kind is None or not kind(step))):
                break
            together.append(step)
        return together

    def _is_plain(self, step: Step) -> bool:
        return isinstance(step, Statement) and step.shape.reads_only and not self._history.writes

    def _run(self, together: list[Statement], deadline: Deadline) -> list[Answer]:
        first = together[0]
        if self._is_plain(first):
            return self._read_plainly(together, deadline)
        if first.shape.reads_only:
            return [self._read(first, deadline)]
        if first.shape.verb == "PRAGMA":
            # Keys are always deferred, and any other pragma is not part of a transaction.
            defers = "defer_foreign_keys" in first.sql.lower()
            return [Answer(is_exact=True)] if defers else self._send([first], deadline)
        if first.shape.verb != "CREATE" and is_several(first.sql):
            raise NotSupportedError(
                "A text of several statements cannot be part of a block on D1. Send them one by one",
                effect="statement",
            )
        self._refuse_more(len(together))
        if len(together) > 1:
            return self._write_several(together, deadline)
        return [self._write_one(returning.bare_write(first), deadline)]

    # Reads

    def _read_plainly(self, reads: list[Statement], deadline: Deadline) -> list[Answer]:
        answers = self._send(reads, deadline)
        for read, answer in zip(reads, answers, strict=True):
            # What cannot be part of another statement, and what differs each time, cannot be compared.
            if read.shape.verb in _WRAPPABLE and answer.columns and not is_random(read):
                rows, _ = codec.decode(answer.rows)
                self._history.add_read(Read(read, len(answer.columns), rows))
        return answers

    def _read(self, read: Statement, deadline: Deadline) -> Answer:
        if read.shape.verb == "EXPLAIN":
            return self._send([read], deadline)[0]
        read = as_select(read)
        return self._described(read, deadline, lambda names: self._read_named(read, names, deadline))

    def _described(self, read: Statement, deadline: Deadline, use: Callable[[list[str]], T]) -> T:
        def ask(statements: list[Statement], nonce: str) -> Carried:
            return self._try(statements, nonce, deadline)

        try:
            return use(self._descriptions.of(read, ask))
        except Error as error:
            if not wrong_width(error):
                raise
        self._descriptions.forget(read.sql)
        return use(self._descriptions.of(read, ask))

    def _read_named(self, read: Statement, names: list[str], deadline: Deadline) -> Answer:
        entry = Read(read, len(names), [])
        rows = self._fetch(entry, deadline)
        if not is_random(read):
            self._history.add_read(entry)
        return Answer(names, [list(row) for row in rows], is_exact=True)

    def _fetch(self, entry: Read, deadline: Deadline) -> list[Row]:
        """Return a read's rows after the block's writes, and keep their text in the entry."""
        nonce = new_nonce()
        clause, row = rows_of(entry.statement, entry.width)
        source = f"SELECT count(*), coalesce(group_concat({row}, ';'), '') FROM do_bridge_read"
        try:
            carried = self._try([ending(source, entry.statement.params, nonce, clause)], nonce, deadline)
        except Error as error:
            if not is_too_big(error):
                raise
            carried = None
        if carried is None or carried.is_too_long:
            entry.parts = long_parts(self._try, entry.statement, entry.width, deadline)
            return [row for _, _, text in entry.parts for row in values(text)]
        entry.text = carried.text
        rows = values(carried.text)
        if len(rows) != carried.count:
            raise unreadable()
        return rows

    # Writes

    def _refuse_more(self, count: int) -> None:
        if len(self._history.writes) + count > self._max_writes:
            raise OperationalError(
                f"The block has more than {self._max_writes} writes, and D1 repeats all of them with each "
                "statement. Write many rows with bulk_create(), bulk_update() or update(), collect writes "
                "with do_bridge.batch(), or raise OPTIONS['max_writes']",
                effect="statement",
            )

    def _write_one(self, statement: Statement, deadline: Deadline) -> Answer:
        self._confirm_large(deadline)
        write = returning.split(statement)
        if write is None:
            carried = self._try_confirming(statement, deadline)
            return self._note(statement, carried.changes, carried.last_row_id)
        if write.verb == "DELETE":
            answer = self._read(returning.read_before_delete(write), deadline)
            count = self._write_one(returning.without_returning(write), deadline)
            return Answer(answer.columns, answer.rows, count.changes, is_exact=True)
        return self._write_returning(write, deadline)

    def _note(self, statement: Statement, changes: int, row_id: int) -> Answer:
        """Append a write to the history and return what it answers."""
        counted = statement.shape.verb in _COUNTED and not is_several(statement.sql)
        entry = Write([statement], changes if counted else None)
        self._history.entries.append(entry)
        if not counted:
            return Answer(is_exact=True)

        def look() -> None:
            entry.row_id = row_id

        return Answer([], [], changes, row_id, is_exact=True, on_row_id=look)

    def _write_several(self, writes: list[Statement], deadline: Deadline) -> list[Answer]:
        """Run writes without rows in one round trip."""
        self._confirm_large(deadline)
        self._confirm(deadline)
        nonce, steps = new_nonce(), [_CREATE]
        for number, statement in enumerate(writes):
            steps += [returning.bare_write(statement), Statement(_NOTE_COUNTS.format(n=number), (), HARMLESS)]
        counts = f"changes || ',' || row_id, ';' ORDER BY n) FROM {_TOLD}"
        steps.append(ending(f"SELECT count(*), group_concat({counts}", (), nonce))
        told = values(self._try(steps, nonce, deadline).text)
        return [
            self._note(returning.bare_write(statement), changes, row_id)
            for statement, (changes, row_id) in zip(writes, told, strict=True)
        ]

    def _write_returning(self, write: returning.Write, deadline: Deadline) -> Answer:
        self._confirm(deadline)
        columns = None
        if returning.returned_items(write, None) is None:
            star = Statement(f'SELECT * FROM "{write.table}"', (), HARMLESS)
            columns = self._described(star, deadline, lambda names: names)
        terms = returning.returned_items(write, columns) or []
        names = [term.name or term.sql for term in terms]
        nonce = new_nonce()
        single = write.is_single
        made = returning.carry_single if single else returning.carry_many
        try:
            carried = self._try(made(write, terms, nonce), nonce, deadline)
        except OperationalError as error:
            if "NEW.rowid" not in str(error):
                raise
            raise returning.without_rowid() from None
        if carried.is_too_long:
            raise returning.too_long()
        computed, _, text = carried.text.partition("/")
        computed_names = {str(row[0]) for row in values(computed)}
        pinned = returning.pinned_columns(write, terms, computed_names)
        rows = values(text)
        if len(rows) != carried.count:
            raise unreadable()
        if not single and len(rows) != carried.changes:
            raise returning.by_triggers()
        changes = carried.changes if not (single and rows) else 1
        if single:
            statements = returning.repeat_single(write, terms, pinned, rows[0] if rows else None, text)
        else:
            statements = returning.repeat_many(write, terms, pinned, rows, text.split(";") if text else [])
            rows = [row[1:] for row in rows]
        is_counted = bool(rows) and returning.has_counted_key(write, computed_names)
        self._history.entries.append(Write(statements, changes, counted=write.table if is_counted else ""))
        return Answer(names, [list(row) for row in rows], changes, carried.last_row_id, is_exact=True)

    # Batches that are rolled back

    def _confirm_large(self, deadline: Deadline) -> None:
        """Fetch the texts of the reads that do not fit beside a write's answer."""
        waiting = self._history.unconfirmed()
        if not fits_one_message(waiting):
            for read in waiting:
                told = read.rows
                if as_plain(self._fetch(read, deadline)) != told:
                    raise TransactionConflict()
                read.rows = []

    def _confirm(self, deadline: Deadline) -> None:
        """Fetch the texts of the reads before the first write."""
        if self._history.unconfirmed():
            self._try_confirming(None, deadline)

    def _try_confirming(self, statement: Statement | None, deadline: Deadline) -> Carried:
        """Run a write after the block's; before the first one, check the block's reads.

        Raises TransactionConflict if a read's answer has changed.
        """
        waiting = self._history.unconfirmed()
        nonce = new_nonce()
        write = [] if statement is None else [statement]
        if not waiting:
            return self._try([*write, ending("SELECT 0, ''", (), nonce)], nonce, deadline)
        copies = [_copy(number, read) for number, read in enumerate(waiting)]
        source = f"SELECT count(*), group_concat(t, '/' ORDER BY n) FROM {_TOLD}"
        carried = self._try([_CREATE, *copies, *write, ending(source, (), nonce)], nonce, deadline)
        if carried.is_too_long:
            raise returning.too_long()
        texts = carried.text.split("/")
        if any(as_plain(values(text)) != read.rows for read, text in zip(waiting, texts, strict=True)):
            raise TransactionConflict()
        for read, text in zip(waiting, texts, strict=True):
            read.text, read.rows = text, []
        return carried

    def _try(self, statements: Sequence[Statement], nonce: str, deadline: Deadline) -> Carried:
        """Run statements after the block's writes in a batch that is rolled back."""
        replay = self._history.replay()
        try:
            return carry(self._send, [DEFER, *replay, *statements], nonce, deadline)
        except Error as error:
            if not replay or error.kind != "sql":
                raise
            failed = error
        # D1 does not name the statement that failed: it may be one that another transaction has overtaken.
        probe = new_nonce()
        try:
            carry(self._send, [DEFER, *replay, ending("SELECT 0, ''", (), probe)], probe, deadline)
        except Error as error:
            raise (TransactionConflict() if error.kind == "sql" else error) from None
        raise failed

    # The end

    def _commit(self, deadline: Deadline) -> None:
        history = self._history
        if not history.writes:
            return
        # The checks count rows themselves.
        steps = [step._replace(shape=step.shape._replace(counted=False)) for step in history.commit()]
        try:
            try:
                self._write(steps, deadline)
            except IntegrityError as error:
                if not _is_foreign_key(error):
                    raise
                # Rows may point at later ones: only then are all foreign keys searched.
                self._write([DEFER, *steps, _DANGLING], deadline)
        except Error as error:
            if error.effect == "done":
                return
            raise _commit_error(error) from None


def _copy(number: int, read: Read) -> Statement:
    sql = f"INSERT INTO {_TOLD} (n, t) SELECT {number}, (\n{text_query(read.statement, read.width)}\n)"
    return Statement(sql, read.statement.params, HARMLESS)


def _is_plain_write(step: Step) -> bool:
    return (
        isinstance(step, Statement)
        and not step.shape.reads_only
        and step.shape.verb in _COUNTED
        and "returning" not in step.sql.lower()
        and not is_several(step.sql)
    )


def _is_foreign_key(error: Error) -> bool:
    return error.sqlite_code == "SQLITE_CONSTRAINT_FOREIGNKEY" or "FOREIGN KEY" in str(error)


def _commit_error(error: Error) -> Error:
    """Return the error for a refused commit.

    Nothing was written unless the outcome is unknown.
    """
    if error.kind == "foreign_key" or "do_bridge:foreign_key" in str(error) or _is_foreign_key(error):
        _, _, rows = str(error).partition("do_bridge:foreign_key; ")
        return IntegrityError(
            "FOREIGN KEY constraint failed" + (f": {rows.rstrip(chr(39))}" if rows else ""),
            sqlite_code="SQLITE_CONSTRAINT_FOREIGNKEY",
            kind="foreign_key",
            effect="ended",
        )
    # Each statement has run before, so only another transaction can have made it fail.
    if error.kind == "sql":
        return TransactionConflict()
    error.effect = "unknown" if error.effect == "unknown" else "ended"
    return error
