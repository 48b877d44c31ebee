"""Measures many objects in one process: throughput by threads, and what 1,000 connections hold open."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks import stage
from benchmarks.measuring import machine, write_result
from do_bridge import driver
from do_bridge.relay import LocalRelay, bundle

OBJECTS = 100
QUERIES = 400
THREADS = (1, 2, 4, 8)
ROUNDS = 7
QUERY = "SELECT id, b FROM t WHERE id = %s"

#: What one thread does again and again; each thread has its own.
Share = Sequence[Callable[[], object]]


def throughput(shares: Sequence[Share]) -> float:
    """Queries a second over all shares, each worked at by a thread of its own."""

    def work(share: Share) -> None:
        for count in range(QUERIES // len(shares)):
            share[count % len(share)]()

    start = time.perf_counter()
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(work, shares))
    return QUERIES / (time.perf_counter() - start)


def by_threads(worker: LocalRelay, transport: driver.Transport) -> list[str]:
    """Lines of a table: the driver's throughput, and that of bare sockets that send the same bytes."""
    connections = [driver.connect(transport, f"do:scale/t{number}") for number in range(OBJECTS)]
    for connection in connections:
        connection.execute_batch([("CREATE TABLE t (id INTEGER PRIMARY KEY, b)", None)])
        connection.execute("INSERT INTO t VALUES (1, %s)", ["x"])
    queries = [partial(query, connection) for connection in connections]
    frames = [stage.recorded(one) for one in queries]
    sockets = [stage.Bare(worker) for _ in range(max(THREADS))]
    works: dict[tuple[str, int], list[Share]] = {}
    for threads in THREADS:
        works["driver", threads] = [queries[number::threads] for number in range(threads)]
        works["bare", threads] = [
            [partial(sockets[number].exchange, each) for each in frames[number::threads]]
            for number in range(threads)
        ]
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in works}
    for _ in range(ROUNDS):
        for key, shares in works.items():
            rates[key].append(throughput(shares))
    for each in sockets:
        each.close()
    middle = {key: statistics.median(values) for key, values in rates.items()}
    lines = [
        "| threads | queries a second | times one thread | bare sockets, exchanges | driver / bare |",
        "|---|---|---|---|---|",
    ]
    for threads in THREADS:
        ours, bare = middle["driver", threads], middle["bare", threads]
        growth = ours / middle["driver", THREADS[0]]
        lines.append(f"| {threads} | {ours:.0f} | {growth:.2f} | {bare:.0f} | {ours / bare:.2f} |")
    return lines


def query(connection: driver.Connection) -> object:
    """One row by its key."""
    return connection.execute(QUERY, [1]).fetchall()


def holdings(transport: driver.Transport) -> list[str]:
    """What 1,000 connections to 1,000 objects, each used once, hold in this process."""

    def state() -> tuple[int, int, int]:
        sockets = sum(str(place.readlink()).startswith("socket:") for place in open_files())
        return sockets, threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    connections = []
    lines = ["| objects used | sockets | threads | memory at most, MB |", "|---|---|---|---|"]
    for number in range(1000):
        connections.append(driver.connect(transport, f"do:scale/u{number}"))
        connections[-1].execute("SELECT 1").fetchall()
        if number + 1 in (1, 100, 1000):
            sockets, threads, memory = state()
            lines.append(f"| {number + 1} | {sockets} | {threads} | {memory / 1024:.0f} |")
    return lines


def open_files() -> list[Path]:
    """The links of this process's open files (Linux)."""
    return [place for place in Path("/proc/self/fd").iterdir() if place.is_symlink()]


def main() -> None:
    """Write and print both tables."""
    state = tempfile.TemporaryDirectory()
    with (
        state as folder,
        LocalRelay(Path(folder) / "state", source=bundle.SOURCE) as worker,
    ):
        transport = driver.relay(worker.url, worker.token)
        text = [*holdings(transport), "", *by_threads(worker, transport), "", machine()]
    write_result("tenants.md", "\n".join(text))
    sys.stdout.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
