"""Plants faults of each kind, to show that the look at the databases finds them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from do_bridge import driver
from do_bridge.relay import LocalRelay

from .books import D1, DRIVER_BANKS
from .journal import CONFIRMED, FAILED, Operation
from .judge import HALF, KEYS, LEDGER, LOST, SCHEMA, STANDS, Fault

if TYPE_CHECKING:
    from .inspector import Inspector

_BANK = DRIVER_BANKS[0]


def plant_and_find(
    transport: driver.Transport, inspector: Inspector, era: str, worker: LocalRelay
) -> dict[str, bool]:
    """Return for each planted fault whether it was found; the databases are of no use afterwards."""
    made = _Plants(transport, inspector, era, worker)
    plants: list[tuple[str, str, Callable[[], None]]] = [
        ("a half transaction", HALF, made.half),
        ("money that went nowhere", HALF, made.money),
        ("a confirmed write that is missing", LOST, made.lost),
        ("a write that was told to have failed", STANDS, made.stands),
        ("a ledger row that is not true", LEDGER, made.ledger),
        ("a recorded migration without its tables", SCHEMA, made.schema),
        ("a row that points nowhere", KEYS, made.keys),
    ]
    found = {}
    before: set[Fault] = set()
    for name, kind, plant in plants:
        plant()
        now = set(inspector.look(era, quiet=True))
        found[name] = any(fault.kind == kind for fault in now - before)
        before = now
    return found


class _Plants:
    """Each method does one harm."""

    def __init__(
        self, transport: driver.Transport, inspector: Inspector, era: str, worker: LocalRelay
    ) -> None:
        self._worker = worker
        self._transport = transport
        self._journals = inspector.journals
        self._era = era
        self._count = 0

    def half(self) -> None:
        """Two rows are begun, one is written."""
        self._write(self._operation(2))

    def money(self) -> None:
        """An account without its entry."""
        self._run(_BANK, "UPDATE bank_account SET balance = balance + 5 WHERE id = 1")

    def lost(self) -> None:
        """Nothing is written, and it was confirmed."""
        self._operation(1, CONFIRMED)

    def stands(self) -> None:
        """What failed is there."""
        self._write(self._operation(1, FAILED))

    def ledger(self) -> None:
        """A ready tenant is said to be at another schema."""
        self._run(D1, "UPDATE do_bridge_tenantstate SET fingerprint = 'f00' WHERE slug = 'orm-0'")

    def schema(self) -> None:
        """A migration is taken out of the record of D1."""
        self._run(D1, "DELETE FROM django_migrations WHERE app = 'yard'")

    def keys(self) -> None:
        """An entry without its account: by way of the file, for the runtime itself refuses it."""
        self._run(_BANK, "CREATE TABLE planted_here (x)")
        self._worker.stop()
        for file in sorted(self._worker.folder.rglob("*.sqlite")):
            with contextlib.closing(sqlite3.connect(file)) as connection:
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'planted_here'").fetchone():
                    connection.execute("INSERT INTO bank_entry (op, account_id, amount) VALUES ('x', 99, 0)")
                    connection.commit()
        self._worker.start()

    def _operation(self, rows: int, end: str = "") -> Operation:
        self._count += 1
        made = Operation(f"{self._era}-planted-{self._count}", "planted", _BANK, rows, end=end)
        self._journals.add(made)
        return made

    def _write(self, operation: Operation) -> None:
        sql = "INSERT INTO bank_entry (op, account_id, amount) VALUES (%s, 1, 0)"
        with driver.connect(self._transport, _BANK) as connection:
            connection.execute(sql, [operation.op])

    def _run(self, database: str, sql: str) -> None:
        with driver.connect(self._transport, database) as connection:
            connection.execute(sql)
