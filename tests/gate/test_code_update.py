"""New code of the relay takes over while clients write: no confirmed write is lost, none is there twice."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

OBJECT = "do:test/gate/update"
D1 = "d1:d0b41d9e-0000-4000-8000-000000000007"
ADD = "INSERT INTO item (v) VALUES (%s)"
PARTS = 3


class Writer(threading.Thread):
    """Writes numbers of its own until it is told to stop, and remembers what became of each."""

    def __init__(self, transport: RelayTransport, database: str, first: int, *, in_transaction: bool) -> None:
        super().__init__()
        self.connection = driver.connect(transport, database, timeout=60)
        self.database = database
        self.next = first
        self.in_transaction = in_transaction
        self.outcomes: dict[str, set[int]] = {"done": set(), "none": set(), "unknown": set()}
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            number, self.next = self.next, self.next + 1
            self.outcomes[self._write(number)].add(number)

    def _write(self, number: int) -> str:
        committing = False
        try:
            if not self.in_transaction:
                self.connection.execute(ADD, [number])
                return "done"
            self.connection.begin()
            for _ in range(PARTS):
                self.connection.execute(ADD, [number])
            committing = True
            self.connection.commit()
        except driver.Error as error:
            self.errors.append(error)
            self.connection.rollback()
            # Before its commit a transaction leaves nothing, whatever became of a statement.
            unknown = error.effect == "unknown" and (committing or not self.in_transaction)
            return "unknown" if unknown else "none"
        return "done"


def version(url: str) -> str:
    with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:  # noqa: S310
        return str(json.load(answer)["version"])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_new_code_takes_over_in_the_middle_of_writes(worker_copy: Callable[..., Any]) -> None:
    worker = worker_copy(wrangler=True).start()
    transport = RelayTransport(worker.url, worker.token)
    for database in (OBJECT, D1):
        driver.connect(transport, database).execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
    plans = [(OBJECT, False), (OBJECT, True), (D1, False)]
    writers = [
        Writer(transport, database, 1_000_000 * place, in_transaction=whole)
        for place, (database, whole) in enumerate(plans)
    ]
    for writer in writers:
        writer.start()
    code = worker.source / "src" / "index.ts"
    before = code.read_text()
    for update in ("second", "third"):
        counts = [len(writer.outcomes["done"]) for writer in writers]
        code.write_text(before.replace("version: env.RELAY_VERSION", f'version: "{update}"'))
        assert wait_for(lambda wanted=update: version(worker.url) == wanted)  # type: ignore[misc]
        assert wait_for(
            lambda then=counts: all(
                len(w.outcomes["done"]) > n + 3 for w, n in zip(writers, then, strict=True)
            )  # type: ignore[misc]
        )
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join()
    for writer in writers:
        rows = driver.connect(transport, writer.database).execute("SELECT v FROM item").fetchall()
        own = Counter(number for (number,) in rows if number // 1_000_000 == writers.index(writer))
        assert writer.outcomes["done"] <= own.keys()
        assert own.keys() <= writer.outcomes["done"] | writer.outcomes["unknown"]
        assert set(own.values()) == {PARTS if writer.in_transaction else 1}
        assert {type(error) for error in writer.errors} <= {driver.OperationalError}
    transport.close()
