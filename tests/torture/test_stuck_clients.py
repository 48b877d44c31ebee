"""A client that stops, waits for another, or asks too much holds up nobody for longer than it may."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from tests.driver.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
LEASE = 2.0
# Seconds that a busy machine may take besides: no bound of this file is about speed.
MARGIN = 8.0
PUT = "INSERT INTO item (v) VALUES (%s)"
COUNT = "SELECT count(*) FROM item"
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT max(i) FROM n"

MakeObject = Callable[[], str]

STOPPING = """
import sys, time
from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
url, token, name = sys.stdin.readline().split()
connection = driver.connect(RelayTransport(url, token), name, lease=float(sys.argv[1]))
connection.begin()
connection.execute("INSERT INTO item (v) VALUES (1)")
print("holds", flush=True)
time.sleep(600)
"""


def elapsed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def items(transport: driver.Transport, name: str) -> int:
    """Return how many items an object has, asked past everything."""
    with driver.connect(transport, name) as connection:
        return int(connection.execute(COUNT).fetchone()[0])


def test_a_client_that_stops_inside_a_transaction_holds_its_tenant_no_longer_than_its_lease(
    local_worker: Any, relay: RelayTransport, make_object: MakeObject
) -> None:
    name = make_object()
    command = [sys.executable, "-c", STOPPING, str(LEASE)]
    client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(f"{local_worker.url} {local_worker.token} {name}\n")
        client.stdin.flush()
        assert client.stdout.readline() == "holds\n"
        os.kill(client.pid, signal.SIGSTOP)
        other = driver.connect(relay, name, timeout=LEASE + MARGIN)
        assert elapsed(lambda: other.execute(PUT, [2])) < LEASE + MARGIN
        assert other.execute("SELECT v FROM item").fetchall() == [(2,)]
    finally:
        client.kill()
        client.communicate()


def test_a_stalled_socket_holds_its_tenant_for_its_lease_while_others_of_the_process_go_on(
    proxy: Proxy, proxied: RelayTransport, relay: RelayTransport, make_object: MakeObject
) -> None:
    stuck, free = make_object(), make_object()
    holds = threading.Event()
    caught: list[driver.Error] = []

    def hold() -> None:
        holder = driver.connect(proxied, stuck, lease=LEASE, timeout=60)
        holder.begin()
        try:
            holder.execute(PUT, [1])
            proxy.freeze()
            holds.set()
            holder.execute(PUT, [2])
        except driver.Error as error:
            caught.append(error)
        finally:
            holds.set()
            holder.close()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    neighbour = driver.connect(proxied, free)
    for value in range(20):
        neighbour.execute(PUT, [value])
    waiting = driver.connect(relay, stuck, timeout=LEASE + MARGIN)
    assert elapsed(lambda: waiting.execute(PUT, [3])) < LEASE + MARGIN
    proxy.release()
    thread.join()
    assert "longer than its lease" in str(caught[0])
    assert (items(relay, free), items(relay, stuck)) == (20, 1)


def test_two_clients_that_take_two_tenants_in_opposite_order_end_by_the_lease_with_an_error_for_one(
    relay: RelayTransport, make_object: MakeObject
) -> None:
    first, second = make_object(), make_object()
    told: dict[str, str] = {}
    both_hold = threading.Barrier(2)

    def work(who: str, names: tuple[str, str], lease: float) -> None:
        connections = [driver.connect(relay, name, lease=lease, timeout=60) for name in names]
        try:
            connections[0].begin()
            connections[0].execute(PUT, [who])
            both_hold.wait()
            connections[1].begin()
            connections[1].execute(PUT, [who])
            for connection in reversed(connections):
                connection.commit()
        except driver.Error as error:
            told[who] = str(error)
        else:
            told[who] = "done"
        finally:
            for connection in connections:
                connection.close()

    threads = [
        threading.Thread(target=work, args=("impatient", (first, second), 1.0)),
        threading.Thread(target=work, args=("patient", (second, first), 20.0)),
    ]
    assert elapsed(lambda: [thread.start() for thread in threads] + [one.join() for one in threads]) < 60
    assert told["patient"] == "done"
    assert "The transaction was open longer than its lease and was rolled back" in told["impatient"]
    with driver.connect(relay, first) as connection:
        assert connection.execute("SELECT v FROM item WHERE v = 'patient'").fetchall() == [("patient",)]


def test_connections_above_the_pools_size_wait_within_their_deadline_and_then_fail_clearly(
    local_worker: Any, make_object: MakeObject
) -> None:
    names = [make_object() for _ in range(3)]
    small = RelayTransport(local_worker.url, local_worker.token, pool_size=2)
    both_hold, let_go = threading.Barrier(3), threading.Event()
    caught: list[str] = []
    served = threading.Event()

    def hold(name: str) -> None:
        with driver.connect(small, name, lease=25) as connection:
            connection.begin()
            connection.execute(PUT, [1])
            both_hold.wait()
            let_go.wait()
            connection.commit()

    def want(timeout: float) -> None:
        try:
            driver.connect(small, names[2], timeout=timeout).execute(PUT, [1])
            served.set()
        except driver.OperationalError as error:
            caught.append(str(error))

    holders = [threading.Thread(target=hold, args=(name,)) for name in names[:2]]
    for holder in holders:
        holder.start()
    both_hold.wait()
    took = elapsed(lambda: want(1.0))
    (text,) = caught
    assert "All 2 relay sessions of this process were in use for 1 seconds" in text
    assert "OPTIONS['pool_size']" in text
    assert 1 <= took < 1 + MARGIN
    patient = threading.Thread(target=want, args=(30.0,))
    patient.start()
    let_go.set()
    for thread in (patient, *holders):
        thread.join()
    assert served.is_set()
    small.close()


class Flood:
    """Eight threads that ask one database for slow things until the block ends."""

    def __init__(self, local_worker: Any, database: str) -> None:
        self._transport = RelayTransport(local_worker.url, local_worker.token)
        self._database = database
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        self.answers = 0
        self.errors: list[driver.Error] = []

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._transport.close()

    def _ask(self) -> None:
        connection = driver.connect(self._transport, self._database, timeout=60)
        while not self._over.is_set():
            try:
                connection.execute(SLOW)
                self.answers += 1
            except driver.Error as error:
                self.errors.append(error)


def test_a_flood_on_one_tenant_slows_another_no_more_than_a_flood_on_anything_else_of_the_worker(
    local_worker: Any, relay: RelayTransport, make_object: MakeObject
) -> None:
    flooded, quiet = make_object(), make_object()
    neighbour = driver.connect(relay, quiet, timeout=30)
    elsewhere = "d1:d0b41d9e-0000-4000-8000-000000000007"

    def median() -> float:
        return statistics.median(elapsed(lambda: neighbour.execute(PUT, [1])) for _ in range(11))

    slow = elapsed(lambda: driver.connect(relay, flooded, timeout=60).execute(SLOW))
    alone = median()
    with Flood(local_worker, flooded) as flood:
        beside = median()
    with Flood(local_worker, elsewhere) as other:
        beside_other = median()
    assert flood.answers
    assert other.answers
    assert not flood.errors
    # One thread runs every object here: the neighbour waits for a statement in work, not for all that queue.
    assert beside < 4 * beside_other + 4 * slow + 20 * alone
