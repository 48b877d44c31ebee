"""Writes whose foreign keys are checked later, without a transaction.

They are sent in one batch, or in a few.
"""

from contextlib import contextmanager

from django.db import IntegrityError, NotSupportedError

from do_bridge import driver
from do_bridge.backends.remote_sqlite import rebuild
from do_bridge.backends.remote_sqlite.queries.wide import LITERAL
from do_bridge.backends.remote_sqlite.refusals import failing, told
from do_bridge.backends.remote_sqlite.snapshot import joined
from do_bridge.driver import exact
from do_bridge.driver.limits import D1_STATEMENTS
from do_bridge.driver.sql import Statement, bare, prepare

from .connection import Batch, PendingCount

_DEFER = prepare(rebuild.DEFER_FOREIGN_KEYS, None)
_CHECK = prepare(rebuild.refuse_dangling_rows(), None)
_STALE = "stale"
# Fail if an UPDATE finds another number of rows than Django has assumed.
_MUST_FIND = prepare(f"SELECT {failing(_STALE)} WHERE changes() = 0", None)
_MUST_MISS = prepare(f"SELECT {failing(_STALE)} WHERE changes() <> 0", None)
# An UPDATE may need a second statement.
PIECE = D1_STATEMENTS * 4 // 10


class ProbedCount(PendingCount):
    """The number of rows that a waiting UPDATE changes.

    `> 0` is answered with a read of the present rows. Model.save() inserts a row that its UPDATE does not
    find. A queued row is not found either, so that INSERT keeps an existing row. The batch fails if the
    answer turns out wrong, because code decides by `> 0` what to write.
    """

    def __init__(self, entry):
        super().__init__(entry)
        #: Return whether the UPDATE's rows exist; the compiler sets it, as the next.
        self.probe = None
        #: The UPDATE's only condition, or None.
        self.condition = None

    def __gt__(self, other):
        if self._is_known or other != 0 or self.probe is None:
            return super().__gt__(other)
        found = self.probe()
        self._entry.must_change, self._entry.missed = found, not found
        return found

    def finds(self, waiting):
        """Whether the UPDATE is for one of the rows that wait to be inserted."""
        lhs = getattr(self.condition, "lhs", None)
        if getattr(self.condition, "lookup_name", None) != "exact" or not hasattr(lhs, "target"):
            return False
        # Other columns' values need not be hashable.
        keys = [field for field in (lhs.target, lhs.field) if field.primary_key]
        return any((key, self.condition.rhs) in waiting for key in keys)

    def is_for(self, key, value):
        """Whether the UPDATE is for the row with this value of the model's primary key."""
        lhs = getattr(self.condition, "lhs", None)
        if lhs is None or getattr(lhs, "target", None) != key and lhs.output_field != key:
            return False
        return type(self.condition)(lhs, value).rhs == self.condition.rhs


class Deferred(Batch):
    """The writes of a block of `constraint_checks_disabled()`.

    Rows may reference later ones. A read or a new row's key inside the block sends the waiting writes, if
    none of their references lacks its target. If one does, they go on waiting, and the read's answer becomes
    a condition: the batch fails as a whole if the read would have given another answer in its place.
    """

    def __init__(self, connection):
        super().__init__(connection)
        #: Rows that wait to be inserted: (the primary key's field, its value) -> the statement's place.
        self.waiting = {}
        self._sent = 0
        self._peeks = False
        self._patience = PIECE

    def __len__(self):
        return self._sent + len(self.entries)

    def truncate(self, length):
        length = max(length - self._sent, 0)
        super().truncate(length)
        self.waiting = {key: place for key, place in self.waiting.items() if place < length}

    def _count(self, entry):
        return ProbedCount(entry)

    def add(self, statement):
        if len(self.entries) >= self._patience:
            # The writes that cannot be sent yet grow before they are tried again.
            self._patience = PIECE if self.settle() else 2 * len(self.entries)
        if statement.shape.verb not in ("INSERT", "UPDATE"):
            # This statement may delete them.
            self.waiting = {}
        return super().add(statement)

    def expect_row(self, field, value):
        """Record that the last statement inserts the row with this primary key."""
        self.waiting[field, field.get_prep_value(value)] = len(self.entries) - 1

    def last_write(self):
        """Return the entry of the last waiting write, or None."""
        writes = (entry for entry in reversed(self.entries) if not entry.statement.shape.reads_only)
        return next(writes, None)

    @contextmanager
    def peeking(self):
        """While active, reads look at the present rows and send nothing."""
        self._peeks = True
        try:
            yield
        finally:
            self._peeks = False

    def read(self, statements):
        if self._peeks or self.settle():
            return self._connection.run_now(statements)
        results = self._connection.run_now(statements)
        digests = [
            _digest(statement, len(result.columns))
            for statement, result in zip(statements, results, strict=True)
            if exact.can_wrap(statement) and result.columns
        ]
        if digests:
            for digest, answer in zip(digests, self._connection.run_now(digests), strict=True):
                super().add(_condition(digest, answer.rows[0][0]))
        return results

    def settle(self):
        """Send the waiting writes unless a reference lacks its target.

        Returns whether none are left.
        """
        try:
            self.send()
        except driver.DatabaseError as error:
            if not _is_dangling(error):
                raise
            return False
        return True

    def send(self):
        """Send everything in one round trip.

        Raises IntegrityError, and changes nothing, if a reference lacks its target.
        """
        if not self.entries:
            return
        statements, owners = [_DEFER], [None]
        for entry in self.entries:
            guards = [_MUST_FIND] * entry.must_change + [_MUST_MISS] * (entry.missed and not entry.followed)
            statements += [entry.statement, *guards]
            owners += [entry, *(None for _ in guards)]
        try:
            results = self._connection.run_now([*statements, _CHECK])
        except driver.Error as error:
            if error.effect in ("done", "unknown"):
                # Sent once more, the part that was carried out would be there twice.
                self._leave_behind()
            self._explain_deferred(error, [*statements, _CHECK], [*owners, None])
            raise
        after = self._leave_behind()
        for entry, result in zip(owners, results[:-1], strict=True):
            if entry is not None:
                entry.count.resolve(result.rowcount)
                entry.rows.resolve(result.rows)
        for _, call in after:
            call()

    def _leave_behind(self):
        """Stop waiting for what was sent; return the calls that were to follow it."""
        after = self.after
        self._sent += len(self.entries)
        self.entries, self.after, self.keyless, self.waiting = [], [], {}, {}
        return after

    def _explain_deferred(self, error, statements, owners):
        if told(error, _STALE) is not None:
            raise NotSupportedError(
                "A read inside this block depends on earlier rows of the block, which could not be "
                "sent because they point at later rows. D1 has no transaction for that, and this "
                "batch was not carried out. Put the rows that others point at first."
            ) from error
        if isinstance(error, driver.IntegrityError) and not _is_dangling(error):
            step = error.step if error.step is not None else self._locate(statements)
            entry = owners[step] if step is not None else None
            what = f"Could not load {entry.label}" if entry and entry.label else "A row could not be written"
            raise IntegrityError(f"{what}: {error}. Nothing of its batch was carried out.") from error


def _is_dangling(error):
    return getattr(error, "kind", None) == "foreign_key" or rebuild.is_dangling(error)


def _digest(statement, width):
    """Return the statement that gives all rows of a read as one text."""
    names = ", ".join(f"c{index}" for index in range(width))
    row = joined([LITERAL.format(c=f"c{index}") for index in range(width)])
    source = f"WITH do_bridge_read({names}) AS (\n{bare(statement.sql)}\n)"
    text = f"{source} SELECT coalesce(group_concat({row}, ';'), '') FROM do_bridge_read"  # noqa: S608
    return Statement(text, statement.params, statement.shape)


def _condition(digest, answer):
    """Return the statement that fails if the read would give another answer.

    Its batch fails with it.
    """
    slot = f"?{len(digest.params) + 1}"
    text = f"SELECT {failing(_STALE)} WHERE (\n{digest.sql}\n) <> {slot}"
    return Statement(text, (*digest.params, answer), digest.shape)
