"""The history of a block: the answers that it was given, the writes to repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from do_bridge.driver.exceptions import InternalError, OperationalError
from do_bridge.driver.sql import Statement

from .carrying import HARMLESS, LARGEST, with_slot
from .conflict import CONFLICT
from .texts import Row, text_query

_CHECK: Final = "SELECT json_extract('{{}}', '{mark}; {what}') WHERE {condition}"


@dataclass(slots=True)
class Read:
    """A read: the rows that were returned, and their text once it is known."""

    statement: Statement
    width: int
    rows: list[Row]
    """Of a plain answer; empty once the text is known."""
    text: str | None = None
    parts: list[tuple[int, int, str]] = field(default_factory=list)
    """Of a text that is too long for one message: the place and number of rows, and their text."""

    @property
    def is_confirmed(self) -> bool:
        """Return whether the text is known that a commit compares with."""
        return self.text is not None or bool(self.parts)

    @property
    def size(self) -> int:
        """Return about how long the text is."""
        if self.text is not None:
            return len(self.text)
        return sum(
            2 * len(value) if isinstance(value, (str, bytes)) else 10 for row in self.rows for value in row
        )

    def checks(self) -> list[Statement]:
        """Return the statements that fail if the read gives another answer in its place."""
        if not self.is_confirmed:
            raise InternalError("A read of the block was not compared before its first write", effect="ended")
        if self.text is not None:
            return [self._check(text_query(self.statement, self.width), self.text)]
        return [
            self._check(text_query(self.statement, self.width, (place, count)), text)
            for place, count, text in self.parts
        ]

    def _check(self, query: str, text: str) -> Statement:
        slot, params = with_slot(self.statement.params, text)
        condition = f"(\n{query}\n) <> {slot}"
        return Statement(_CHECK.format(mark=CONFLICT, what="read", condition=condition), params, HARMLESS)


@dataclass(slots=True)
class Write:
    """A write as it is repeated.

    ``changes`` is the count to check, or None if it cannot differ.
    """

    statements: list[Statement]
    changes: int | None = None
    row_id: int | None = None
    """The last rowid that the block's code has looked at, or None."""
    counted: str = ""
    """The table of an INSERT whose returned keys come from the table's counter, if it is known."""

    def steps(self) -> list[Statement]:
        """Return the statements of a repetition, with their checks."""
        checks = []
        if self.changes is not None:
            checks.append(_check(f"changes() <> {self.changes}", "count"))
        if self.row_id is not None:
            checks.append(_check(f"last_insert_rowid() <> {self.row_id}", "key"))
        return [self.statements[0], *checks, *self.statements[1:]]


Entry = Read | Write


class History:
    """The entries of a block in order, and the savepoints among them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._savepoints: list[tuple[str, int]] = []

    @property
    def writes(self) -> list[Write]:
        """Return the writes in order."""
        return [entry for entry in self.entries if isinstance(entry, Write)]

    def unconfirmed(self) -> list[Read]:
        """Return the reads whose text is not known yet."""
        return [entry for entry in self.entries if isinstance(entry, Read) and not entry.is_confirmed]

    def add_read(self, read: Read) -> None:
        """Append a read, unless it repeats the same answer since the last write."""
        for entry in reversed(self.entries[-50:]):
            if isinstance(entry, Write):
                break
            same = (
                entry.statement.sql == read.statement.sql and entry.statement.params == read.statement.params
            )
            if same and (entry.rows, entry.text, entry.parts) == (read.rows, read.text, read.parts):
                return
        self.entries.append(read)

    def replay(self) -> list[Statement]:
        """Return the statements that repeat the block's writes."""
        return [step for write in self.writes for step in write.steps()]

    def commit(self) -> list[Statement]:
        """Return the batch that writes everything if the block would get the same answers."""
        steps: list[Statement] = []
        for entry in self.entries:
            steps += entry.checks() if isinstance(entry, Read) else entry.steps()
        return steps

    def savepoint(self, name: str) -> None:
        """Remember this place."""
        self._savepoints.append((name, len(self.entries)))

    def release(self, name: str) -> None:
        """Forget a place, and those after it."""
        del self._savepoints[self._depth(name) :]

    def rollback_to(self, name: str) -> None:
        """Forget the entries since a place, reads too."""
        depth = self._depth(name)
        del self._savepoints[depth + 1 :]
        del self.entries[self._savepoints[depth][1] :]

    def _depth(self, name: str) -> int:
        for depth in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[depth][0] == name:
                return depth
        raise OperationalError(f"no such savepoint: {name}")


def _check(condition: str, what: str) -> Statement:
    return Statement(_CHECK.format(mark=CONFLICT, what=what, condition=condition), (), HARMLESS)


def fits_one_message(reads: Sequence[Read]) -> bool:
    """Return whether the texts of these reads may be carried out together."""
    return sum(read.size + 50 for read in reads) < LARGEST // 2
