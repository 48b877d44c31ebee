"""The load by the driver alone: transactions with savepoints, batches and autocommit writes on objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from do_bridge import driver

from .bank import ACCOUNTS
from .books import DRIVER_BANKS

_ENTRY = "INSERT INTO bank_entry (op, account_id, amount) VALUES (%s, %s, %s)"
_MOVE = "UPDATE bank_account SET balance = balance + %s WHERE id = %s"
_MANY = (
    "INSERT INTO bank_entry (op, account_id, amount) "
    "SELECT value->>0, value->>1, value->>2 FROM json_each(json(%s))"
)
# The kinds of operation that are one statement, one batch or one transaction of an object.
ON_OBJECTS = frozenset(
    {
        *("transfer", "long transfer", "refused", "write", "many rows", "batch"),
        *("ORM transfer", "ORM bulk", "ORM create", "import of posts"),
    }
)
# Those that a foreign key refuses each time.
REFUSED = frozenset({"refused", "D1 refused"})
# Behind an operation's name: rows that a savepoint or a refused statement must have taken away.
UNDONE = "!"


@dataclass
class Task:
    """One operation: `rows` is what its book has of it when it is done, `work` does it."""

    kind: str
    book: str
    rows: int
    work: Callable[[], None]
    slugs: tuple[str, ...] = ()


class DriverLoad:
    """Picks operations on the objects that no Django knows."""

    def __init__(self, transport: driver.Transport, rng: Random) -> None:
        self._rng = rng
        self._connections = {
            name: driver.connect(transport, name, timeout=20.0, lease=5.0) for name in DRIVER_BANKS
        }

    def pick(self, op: str) -> Task:
        """Return the next operation."""
        book = self._rng.choice(DRIVER_BANKS)
        connection = self._connections[book]
        kind, rows, work = self._rng.choices(
            [
                ("transfer", 2, self._transfer),
                ("long transfer", 12, self._long_transfer),
                ("refused", 2, self._refused),
                ("write", 1, self._write),
                ("many rows", 40, self._many),
                ("batch", 3, self._batch),
            ],
            weights=(30, 15, 5, 25, 10, 15),
        )[0]
        return Task(kind, book, rows, lambda: work(connection, op))

    def _pair(self) -> tuple[int, int, int]:
        first, second = self._rng.sample(range(1, ACCOUNTS + 1), 2)
        return first, second, self._rng.randint(1, 50)

    def _transfer(self, connection: driver.Connection, op: str, times: int = 1) -> None:
        try:
            connection.begin()
            for _ in range(times):
                self._move(connection, op)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def _move(self, connection: driver.Connection, op: str) -> None:
        first, second, amount = self._pair()
        connection.execute("SELECT balance FROM bank_account WHERE id = %s", [first]).fetchone()
        connection.execute(_MOVE, [-amount, first])
        connection.execute(_ENTRY, [op, first, -amount])
        connection.savepoint("attempt")
        connection.execute(_ENTRY, [op + UNDONE, second, 1])
        connection.rollback_to("attempt")
        connection.release("attempt")
        connection.execute(_ENTRY, [op, second, amount])
        connection.execute(_MOVE, [amount, second])

    def _long_transfer(self, connection: driver.Connection, op: str) -> None:
        self._transfer(connection, op, times=6)

    def _refused(self, connection: driver.Connection, op: str) -> None:
        """Write, and then what a foreign key refuses: nothing of it stays."""
        connection.execute_batch([(_ENTRY, [op, 1, 0]), (_ENTRY, [op, 99, 0])])

    def _write(self, connection: driver.Connection, op: str) -> None:
        connection.execute(_ENTRY, [op, 1, 0])

    def _many(self, connection: driver.Connection, op: str) -> None:
        rows = ",".join(f'["{op}",{1 + index % ACCOUNTS},0]' for index in range(40))
        connection.execute(_MANY, [f"[{rows}]"])

    def _batch(self, connection: driver.Connection, op: str) -> None:
        first, second, amount = self._pair()
        connection.execute_batch(
            [
                (_MOVE, [-amount, first]),
                (_ENTRY, [op, first, -amount]),
                (_ENTRY, [op, second, amount]),
                (_ENTRY, [op, second, 0]),
                (_MOVE, [amount, second]),
            ]
        )
