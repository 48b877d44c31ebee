"""Writes whose foreign keys are looked at later, where no transaction can hold them: one batch, or a few."""

from contextlib import contextmanager

from django.db import IntegrityError, NotSupportedError

from do_bridge import driver
from do_bridge.backends.remote_sqlite import rebuild
from do_bridge.backends.remote_sqlite.snapshot import joined
from do_bridge.backends.remote_sqlite.wide import LITERAL
from do_bridge.driver import exact
from do_bridge.driver.sql import Statement, bare, prepare

from .connection import Batch, PendingCount

_DEFER = prepare(rebuild.DEFER_FOREIGN_KEYS, None)
_CHECK = prepare(rebuild.refuse_dangling_rows(), None)
_STALE = "do_bridge:stale"
# Fail where an UPDATE turns out to find another number of rows than Django was told.
_MUST_FIND = prepare(f"SELECT json_extract('{{}}', '{_STALE}') WHERE changes() = 0", None)
_MUST_MISS = prepare(f"SELECT json_extract('{{}}', '{_STALE}') WHERE changes() <> 0", None)
# D1 runs 1,000 statements for an invocation of the relay; an UPDATE may have another behind it.
PIECE = 400


class ProbedCount(PendingCount):
    """The number of rows that an UPDATE changes, which waits; `> 0` is answered by a read of what is there.

    Model.save() inserts a row that its UPDATE does not find. One that was only queued is not found either, so
    that INSERT is made to let an existing row be. Whatever else the answer was for, the batch fails if it
    turns out wrong: `> 0` is asked to decide what to write.
    """

    def __init__(self, entry):
        super().__init__(entry)
        #: Returns whether the UPDATE's rows exist; set by the compiler, as the next.
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
        """Whether the UPDATE is that of one of the rows which wait to be inserted."""
        lhs = getattr(self.condition, "lhs", None)
        if getattr(self.condition, "lookup_name", None) != "exact" or not hasattr(lhs, "target"):
            return False
        # Other columns' values need not be hashable.
        keys = [field for field in (lhs.target, lhs.field) if field.primary_key]
        return any((key, self.condition.rhs) in waiting for key in keys)

    def is_for(self, key, value):
        """Whether the UPDATE is that of the row with this value of the model's primary key."""
        lhs = getattr(self.condition, "lhs", None)
        if lhs is None or getattr(lhs, "target", None) != key and lhs.output_field != key:
            return False
        return type(self.condition)(lhs, value).rhs == self.condition.rhs


class Deferred(Batch):
    """The writes of a block of `constraint_checks_disabled()`: rows may point at those that come later.

    What has to be known before the block's end (a read, a new row's key) sends what waits, if no row of it
    points nowhere. If one does, it goes on waiting, and the read's answer becomes a condition: the batch
    fails as a whole if the read would have given another one in its place.
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
            # What can't be sent now grows before it is tried again.
            self._patience = PIECE if self.settle() else 2 * len(self.entries)
        if statement.shape.verb not in ("INSERT", "UPDATE"):
            # It may delete them.
            self.waiting = {}
        return super().add(statement)

    def expect_row(self, field, value):
        """Note that the last statement inserts the row with this value of its primary key."""
        self.waiting[field, field.get_prep_value(value)] = len(self.entries) - 1

    def last_write(self):
        """Return the entry of the last write that waits, or None."""
        writes = (entry for entry in reversed(self.entries) if not entry.statement.shape.reads_only)
        return next(writes, None)

    @contextmanager
    def peeking(self):
        """While active, reads look at what is there and send nothing."""
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
        """Send what waits if no row of it points nowhere; return whether nothing waits any more."""
        try:
            self.send()
        except driver.DatabaseError as error:
            if not _is_dangling(error):
                raise
            return False
        return True

    def send(self):
        """Send all in one round trip; IntegrityError if a row points nowhere, and nothing is carried out."""
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
                # Sent once more, what was carried out would be there twice.
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
        """Wait for nothing that was sent any more; return the calls that were to follow it."""
        after = self.after
        self._sent += len(self.entries)
        self.entries, self.after, self.keyless, self.waiting = [], [], {}, {}
        return after

    def _explain_deferred(self, error, statements, owners):
        if _STALE in str(error):
            raise NotSupportedError(
                "Something was read that earlier rows of the block would have changed. Those could not be "
                "sent before, because they point at later rows, and D1 has no transaction for that: put the "
                "rows that others point at first. Nothing of this was carried out."
            ) from error
        if isinstance(error, driver.IntegrityError) and not _is_dangling(error):
            step = error.step if error.step is not None else self._locate(statements)
            entry = owners[step] if step is not None else None
            what = f"Could not load {entry.label}" if entry and entry.label else "A row can't be written"
            raise IntegrityError(f"{what}: {error}; nothing of its batch was carried out.") from error


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
    """Return the statement that fails, with its batch, if the read would give another answer."""
    slot = f"?{len(digest.params) + 1}"
    text = f"SELECT json_extract('{{}}', '{_STALE}') WHERE (\n{digest.sql}\n) <> {slot}"
    return Statement(text, (*digest.params, answer), digest.shape)
