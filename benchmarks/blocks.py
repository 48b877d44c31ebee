"""Blocks of 1 to 100 writes on D1 and an object: trips, time, rows: `python -m benchmarks.blocks`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import medians, write_result
from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.relay import LocalRelay, bundle

D1 = "d1:d0b41d9e-0000-4000-8000-000000000000"
OBJECT = "do:test/blocks"
WRITES = (1, 5, 20, 100)
ROUNDS = 5
CREATE = "CREATE TABLE item (id INTEGER PRIMARY KEY, v)"


class Kept(driver.Transport):
    """Passes batches on, keeps the last one that wrote, and counts the statements of those rolled back."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.last: list[Any] = []
        self.repeated = 0

    def batch(self, database: str, statements: Any, deadline: Any, **options: Any) -> Any:
        """Pass a batch on."""
        if options.get("key"):
            self.last = list(statements)
        elif any("do_bridge:told" in statement.sql for statement in statements):
            self.repeated += sum(" item " in statement.sql for statement in statements)
        return self._inner.batch(database, statements, deadline, **options)

    def max_request(self, deadline: Any) -> int:
        """Pass on."""
        return int(self._inner.max_request(deadline))

    def close(self) -> None:
        """Leave the inner transport open."""


def block(connection: driver.Connection, count: int) -> None:
    """One read and so many writes, in a transaction where there are any."""
    if connection.supports_transactions:
        connection.begin()
    connection.execute("SELECT v FROM item WHERE id = 1").fetchall()
    for number in range(count):
        connection.execute("UPDATE item SET v = %s WHERE id = %s", [number, number + 1])
    connection.commit()


def rows_of(connection: driver.Connection, kept: Kept) -> tuple[int, int]:
    """Rows read and written by the batch of the last commit, by the runtime's counters."""
    connection.metered = lambda: True
    found: list[Any] = []
    connection.on_call = found.append
    connection.run(kept.last)
    connection.on_call, connection.metered = None, lambda: False
    return found[0].rows_read, found[0].rows_written


def lines(relay: Any) -> list[str]:
    """Measure, and return the table."""
    kept = Kept(relay)
    connections = {
        "optimistic": driver.connect(kept, D1, optimistic=True),
        "none": driver.connect(relay, D1),
        "Durable Object": driver.connect(relay, OBJECT),
    }
    for name in ("none", "Durable Object"):
        connections[name].execute(CREATE)
        connections[name].execute(
            "INSERT INTO item SELECT value, 0 FROM json_each(%s)", [str([*range(1, 101)])]
        )
    block(connections["optimistic"], 1)
    table = [
        "| writes | trips: optimistic | none | object | ms: optimistic | none | object "
        "| repeated statements | rows read, written at the commit |",
        "|" + "---|" * 9,
    ]
    for count in WRITES:
        trips = {}
        for name, connection in connections.items():
            kept.repeated = 0
            with driver.count_trips() as counted:
                block(connection, count)
            trips[name] = counted.count
            if name == "optimistic":
                repeated = kept.repeated
        works: dict[str, Callable[[], object]] = {
            name: partial(block, connection, count) for name, connection in connections.items()
        }
        times = {name: f"{1000 * seconds:.1f}" for name, seconds in medians(works, ROUNDS).items()}
        read, written = rows_of(driver.connect(relay, D1), kept)
        table.append(
            f"| {count} | {' | '.join(str(trips[name]) for name in connections)} "
            f"| {' | '.join(times.values())} | {repeated} | {read}, {written} |"
        )
    return table


def main() -> None:
    """Measure on a local Worker of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="blocks-") as folder,
        LocalRelay(Path(folder) / "state", source=bundle.SOURCE) as worker,
    ):
        relay = driver.relay(worker.url, worker.token)
        assert relay.max_request(Deadline(30))  # noqa: S101 - it opens the session.
        text = "\n".join(lines(relay)) + "\n"
        relay.close()
    write_result("blocks.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
