"""Measures many objects in one process: throughput by threads, and what 1,000 connections hold open."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from do_bridge import driver
from worker.local import LocalWorker

OBJECTS = 100
QUERIES = 400
THREADS = (1, 2, 4, 8)
ROUNDS = 3


def throughput(connections: list[driver.Connection], threads: int) -> float:
    """Queries a second, each thread with its own share of the objects."""

    def work(number: int) -> None:
        own = connections[number::threads]
        for count in range(QUERIES // threads):
            own[count % len(own)].execute("SELECT id, b FROM t WHERE id = %s", [1]).fetchall()

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return QUERIES / (time.perf_counter() - start)


def by_threads(transport: driver.Transport) -> list[str]:
    """Lines of a table: threads and throughput, the median of interleaved rounds."""
    connections = [driver.connect(transport, f"do:scale/t{number}") for number in range(OBJECTS)]
    for connection in connections:
        connection.execute_batch([("CREATE TABLE t (id INTEGER PRIMARY KEY, b)", None)])
        connection.execute("INSERT INTO t VALUES (1, %s)", ["x"])
    rates: dict[int, list[float]] = {threads: [] for threads in THREADS}
    for _ in range(ROUNDS):
        for threads in THREADS:
            rates[threads].append(throughput(connections, threads))
    middle = {threads: sorted(values)[ROUNDS // 2] for threads, values in rates.items()}
    lines = ["| threads | queries a second | times one thread |", "|---|---|---|"]
    for threads, rate in middle.items():
        lines.append(f"| {threads} | {rate:.0f} | {rate / middle[1]:.2f} |")
    return lines


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
    """Print both tables."""
    state = tempfile.TemporaryDirectory()
    with state as folder, LocalWorker(0, Path(folder) / "state", os.urandom(16).hex()) as worker:
        transport = driver.relay(worker.url, worker.token)
        text = [*holdings(transport), "", *by_threads(transport)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    text += ["", f"{os.cpu_count()} cores, shared with the runtime; load averages at the end: {load}."]
    sys.stdout.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
