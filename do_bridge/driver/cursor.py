"""The PEP 249 cursor: one statement's rows, all of them fetched with the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .exceptions import ProgrammingError
from .sql import Params, prepare

if TYPE_CHECKING:
    from .connection import Connection
    from .results import Result

Row = tuple[Any, ...]
Description = tuple[tuple[str, None, None, None, None, None, None], ...]


class Cursor:
    """A cursor, which runs statements on its connection.

    ``rowcount`` is -1 for reads, as with sqlite3.
    """

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rowcount = -1
        self._columns: Sequence[str] = ()
        self._lastrowid: int | None = None
        self._on_lastrowid: Callable[[], None] | None = None
        self.closed = False
        self._rows: list[Row] = []
        self._next = 0

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    @property
    def description(self) -> Description | None:
        """The names of the result's columns, as PEP 249 wants them; None without a result."""
        if not self._columns:
            return None
        return tuple((name, None, None, None, None, None, None) for name in self._columns)

    @property
    def lastrowid(self) -> int | None:
        """The rowid of the last INSERT.

        Reading it makes an optimistic transaction depend on it.
        """
        if self._on_lastrowid is not None:
            self._on_lastrowid()
        return self._lastrowid

    def execute(self, sql: str, params: Params | None = None) -> Cursor:
        """Run one statement, with ``%s`` or ``%(name)s`` for its parameters.

        With ``None`` the SQL is sent unchanged.
        """
        self._check_open()
        self._reset()
        self._take(self.connection.run([prepare(sql, params)])[0])
        return self

    def take(self, result: Result) -> None:
        """Take a result from elsewhere, as if this cursor had executed the statement."""
        self._check_open()
        self._reset()
        self._take(result)

    def executemany(self, sql: str, seq_of_params: Iterable[Params]) -> Cursor:
        """Run one statement for each set of parameters, as one atomic batch.

        ``rowcount`` is the sum of the statements' row counts.
        """
        self._check_open()
        self._reset()
        statements = [prepare(sql, params) for params in seq_of_params]
        if statements and statements[0].shape.reads_only:
            raise ProgrammingError("executemany() is for statements that write. Call execute() to read")
        results = self.connection.run_many(statements) if statements else []
        counts = [result.rowcount for result in results]
        self.rowcount = -1 if -1 in counts else sum(counts)
        return self

    def fetchone(self) -> Row | None:
        """Return the next row, or None at the end."""
        self._check_open()
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return the next ``size`` rows (``arraysize`` without one), fewer at the end."""
        self._check_open()
        stop = self._next + (self.arraysize if size is None else size)
        rows = self._rows[self._next : stop]
        self._next += len(rows)
        return rows

    def fetchall(self) -> list[Row]:
        """Return the rows that are left."""
        self._check_open()
        rows = self._rows[self._next :]
        self._next = len(self._rows)
        return rows

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Close the cursor; a second time does nothing."""
        self.closed = True
        self._rows = []

    def _check_open(self) -> None:
        if self.closed:
            raise ProgrammingError("Cannot operate on a closed cursor.")
        if self.connection.closed:
            raise ProgrammingError("Cannot operate on a closed connection.")

    def _reset(self) -> None:
        self.rowcount, self._columns, self._rows, self._next = -1, (), [], 0

    def _take(self, result: Result) -> None:
        self._rows = result.rows
        self._columns = result.columns
        self.rowcount = result.rowcount
        if result.lastrowid is not None:
            self._lastrowid, self._on_lastrowid = result.lastrowid, result.on_lastrowid
