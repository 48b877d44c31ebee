"""The driver's connection to D1, with batches of writes.

It counts the statements that have written.
"""

import operator
import os
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import IntegrityError, NotSupportedError

from do_bridge import driver
from do_bridge.backends.remote_sqlite.refusals import ALWAYS_FAILS, failing, has_passed, told
from do_bridge.driver.sql import prepare

from .reserved_keys import ReservedKeys

# Fail the batch if the statement before it changed no row; the error carries the text.
_UNCHANGED = "unchanged"
_MUST_CHANGE = prepare(f"SELECT {failing(_UNCHANGED)} WHERE changes() = 0", None)
_ALWAYS_FAILS = prepare(*ALWAYS_FAILS)


class Connection(driver.Connection):
    """Count the statements that were written; while `batch` is set, writes wait there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        #: Statements that have committed, each by itself or with its batch.
        self.written = 0
        self.reserved_keys = ReservedKeys(self)
        #: The Batch that collects writes, or None.
        self.batch = None
        #: The process that opened it; a child has a copy.
        self.pid = os.getpid()

    @property
    def can_join(self):
        # What reads inside a batch return depends on the writes that wait there.
        return self.batch is None and super().can_join

    def run(self, statements):
        # A read does not see the writes that wait.
        if self.batch is None or all(statement.shape.reads_only for statement in statements):
            return self.run_now(statements)
        return [self.batch.add(statement) for statement in statements]

    def run_now(self, statements):
        """Run prepared statements at once, even while a batch collects writes."""
        shapes = [statement.shape for statement in statements]
        # A pragma prepares a batch, and stays in it.
        writes = sum(not shape.reads_only and shape.verb != "PRAGMA" for shape in shapes)
        if any("sqlite_sequence" in statement.sql.lower() for statement in statements):
            self.reserved_keys.forget()
        try:
            results = super().run(statements)
        except driver.Error as error:
            # They were carried out, though their results are lost.
            self.written += writes if error.effect == "done" else 0
            raise
        self.written += writes
        return results

    @contextmanager
    def outside(self):
        """Run the block's statements outside of the open transaction.

        A transaction that has run a statement already is not left.
        """
        open_one = self._transaction
        if open_one is not None and not open_one.has_begun:
            self._transaction = None
        try:
            yield
        finally:
            self._transaction = open_one

    def run_many(self, statements):
        if self.batch is not None:
            return self.run(statements)
        return super().run_many(statements)


class Pending:
    """A value that is known once the batch has been sent."""

    def __init__(self):
        self._is_known = False
        self._value = None

    def resolve(self, value):
        """Take the value that the batch brought."""
        self._is_known, self._value = True, value

    def _get(self):
        if not self._is_known:
            raise NotSupportedError(
                "The result of this write is not known inside batch(), which sends it at the end "
                "of the block. Read the result after the block, or make the write outside it."
            )
        return self._value


class PendingCount(Pending):
    """The number of rows that a statement changes; until it is sent, `> 0` is true.

    Model.save() reads it after its UPDATE. If no row was there, the batch fails as a whole. The same applies
    to `if queryset.update(…)`.
    """

    #: Set once the count leaves Django's compilers, which test its truth without meaning the rows.
    is_told = False

    def __init__(self, entry):
        super().__init__()
        self._entry = entry

    def __gt__(self, other):
        if not self._is_known and other == 0:
            self._entry.must_change = True
            return True
        return self._get() > other

    def __ge__(self, other):
        return self._get() >= other

    def __lt__(self, other):
        return self._get() < other

    def __le__(self, other):
        return self._get() <= other

    def __bool__(self):
        if self._is_known:
            return bool(self._value)
        return not self.is_told or self > 0

    def __eq__(self, other):
        # -1 is "no count" to PEP 249.
        if not self._is_known and type(other) is int and other < 0:
            return False
        return self._get() == other

    def __hash__(self):
        return id(self)

    def __add__(self, other):
        return PendingSum([self, other])

    __radd__ = __add__

    def __int__(self):
        return int(self._get())

    __index__ = __int__

    def __repr__(self):
        return repr(self._value) if self._is_known else "<rows changed: not sent yet>"


class PendingSum(PendingCount):
    """A sum of counts, known when all of them are."""

    def __init__(self, terms):
        super().__init__(None)
        self._terms = terms
        self.is_told = any(getattr(term, "is_told", False) for term in terms)

    def _get(self):
        return sum(operator.index(term) for term in self._terms)

    def __gt__(self, other):
        return self._get() > other

    def __eq__(self, other):
        return self._get() == other

    __hash__ = PendingCount.__hash__

    def __bool__(self):
        return not self.is_told or self > 0

    def __repr__(self):
        return "<rows changed by a batch>"


class PendingRows(Pending):
    """The rows of RETURNING, as a list once the batch has been sent."""

    def __len__(self):
        return len(self._get())

    def __getitem__(self, key):
        return self._get()[key]


@dataclass(eq=False)
class Entry:
    """One waiting statement."""

    statement: object
    must_change: bool = False
    count: PendingCount | None = None
    rows: PendingRows | None = None


class Batch:
    """Writes that wait to be sent as one atomic batch."""

    def __init__(self, connection):
        self._connection = connection
        self.entries = []
        self.after = []
        #: Objects whose keys come with the batch, the place of the statement that brings the key, and the
        #: model whose row it inserts; by the objects' id().
        self.keyless = {}

    def __len__(self):
        return len(self.entries)

    def add(self, statement):
        """Queue a prepared statement; return a Result whose fields are known after `send`."""
        entry = Entry(statement)
        entry.count, entry.rows = PendingCount(entry), PendingRows()
        self.entries.append(entry)
        return driver.Result([], entry.rows, entry.count, None)

    def truncate(self, length):
        """Forget the statements after the first `length`: their block was rolled back."""
        del self.entries[length:]
        self.after = [(position, call) for position, call in self.after if position < length]
        self.keyless = {key: item for key, item in self.keyless.items() if item[1] < length}

    def when_sent(self, call):
        """Call `call` without arguments after the batch was sent.

        It is not called if the batch's last statement is undone.
        """
        self.after.append((len(self.entries) - 1, call))

    def expect_key(self, instance, model):
        """Record that the last statement returns the primary key of an object.

        The key is that of the object's row of this model.
        """
        self.keyless[id(instance)] = (instance, len(self.entries) - 1, model)

    def send(self):
        """Send everything in one round trip and fill in the results.

        Raises the driver's errors; an IntegrityError or an unchanged row names the statement's index, from
        0.
        """
        if not self.entries:
            return
        statements, owners = [], []
        for index, entry in enumerate(self.entries):
            statements.append(entry.statement)
            owners.append(index)
            if entry.must_change:
                statements.append(_MUST_CHANGE)
                owners.append(index)
        try:
            results = self._connection.run_now(statements)
        except driver.DatabaseError as error:
            self._explain(error, statements, owners)
            raise
        for result, statement, index in zip(results, statements, owners, strict=True):
            if statement is not _MUST_CHANGE:
                self.entries[index].count.resolve(result.rowcount)
                self.entries[index].rows.resolve(result.rows)
        for _, call in self.after:
            call()

    def _explain(self, error, statements, owners):
        unchanged = told(error, _UNCHANGED) is not None
        if not unchanged and not isinstance(error, driver.IntegrityError):
            return
        step = error.step if error.step is not None else self._locate(statements)
        where = "A statement" if step is None else f"Statement {owners[step]}"
        if unchanged:
            raise IntegrityError(
                f"{where} of the batch changed no row, so the batch was not carried out. Inside "
                "batch(), save() of an object with a primary key and `if queryset.update(…)` "
                "expect that the row exists. Call save(force_insert=True) for a new row."
            ) from error
        raise IntegrityError(
            f"{where} of the batch failed: {error}. Nothing of the batch was carried out."
        ) from error

    def _locate(self, statements):
        """Return the position of the first statement that fails, or None.

        None means that it cannot be found. D1 does not report it. Batches that always fail, and so change
        nothing, find it.
        """
        good, bad = 0, len(statements)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._connection.run_now([*statements[:middle], _ALWAYS_FAILS])
            except driver.DatabaseError as error:
                if has_passed(error):
                    good = middle
                elif isinstance(error, driver.IntegrityError) or told(error, _UNCHANGED) is not None:
                    bad = middle
                else:
                    return None
        return good
