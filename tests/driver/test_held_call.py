"""What a runtime that is killed leaves of batches that shared one call to their object."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

#: How often the runtime is killed; each takes some seconds.
KILLS = int(os.environ.get("HELD_CALL_KILLS", "3"))
WRITERS = 4


@dataclass
class Writer:
    """Writes batches of two rows to an object of its own, each behind the last one's answer."""

    connection: driver.Connection
    stopped: threading.Event
    sent: int = 0
    confirmed: set[int] = field(default_factory=set)

    def write(self, after: Callable[[int], None]) -> None:
        """Write until it is stopped or a write fails; `after` gets the number of answers after each."""
        insert = "INSERT INTO t (batch) VALUES (%s)"
        while not self.stopped.is_set():
            self.sent += 1
            try:
                self.connection.execute_batch([(insert, [self.sent]), (insert, [self.sent])])
            except driver.OperationalError:
                return
            self.confirmed.add(self.sent)
            after(len(self.confirmed))

    def check(self) -> None:
        """Every confirmed batch is there, whole, and nothing else but what may have been under way."""
        counted = "SELECT batch, count(*) FROM t GROUP BY batch"
        found = dict(self.connection.execute(counted).fetchall())
        assert set(found.values()) <= {2}
        assert self.confirmed <= found.keys()
        assert found.keys() - self.confirmed <= {self.sent}


@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_runtime_that_is_killed_behind_an_answer_has_every_confirmed_batch_and_none_by_halves(
    own_worker: Callable[..., Any],
) -> None:
    worker = own_worker().start()
    chance = random.Random()  # noqa: S311 - any point will do.
    for kill in range(KILLS):
        transport, stopped = RelayTransport(worker.url, worker.token), threading.Event()
        connections = [
            driver.connect(transport, f"do:test/killed/{kill}/{number}") for number in range(WRITERS)
        ]
        writers = [Writer(connection, stopped) for connection in connections]
        for writer in writers:
            writer.connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, batch)")
        last = chance.randint(1, 150)

        def murder(confirmed: int, last: int = last, stopped: threading.Event = stopped) -> None:
            if confirmed == last:
                # What was on its way is sent again, by its key, to the runtime that comes next.
                stopped.set()
                worker.kill()
                worker.start()

        with ThreadPoolExecutor(WRITERS) as threads:
            jobs = [threads.submit(writers[0].write, murder)]
            jobs += [threads.submit(writer.write, lambda _: None) for writer in writers[1:]]
            for job in jobs:
                job.result()
        assert len(writers[0].confirmed) == last
        for writer in writers:
            writer.check()
        transport.close()
