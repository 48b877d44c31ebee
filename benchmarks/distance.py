"""Measures a site far from its database, beside PostgreSQL and sqlite3: `python -m benchmarks.distance`.

A proxy adds the distance and counts round trips. `--quick` measures in some seconds and writes no file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import chart
from benchmarks.far import Far
from benchmarks.measuring import machine, write_result
from do_bridge.relay import LocalRelay, bundle
from tests.postgres import NoPostgres, PostgresServer

OBJECT, D1, OPTIMISTIC = "Durable Object", "D1", "D1, optimistic"
KEPT, NEW, FILE = "PostgreSQL, kept connection", "PostgreSQL, new connection", "sqlite3 in process"
PAGES = ("visitor", "member", "post saved", "admin list", "edit form")
STATEMENTS = ("5 writes in atomic()", "bulk_create(1000)", "get", "create", "list of 100", "count with LIKE")
#: Milliseconds that each direction takes, and the rounds that are measured there.
ROUNDS = {0: 25, 5: 7, 20: 4, 80: 2}
QUICK = {0: 5, 20: 1}
#: Runs in a row at distance 0: the first one after another process has run finds cold caches everywhere.
IN_A_ROW = {"bulk_create(1000)": 1} | dict.fromkeys(PAGES, 4)
#: What `get()` on an object may take, in times of PostgreSQL with a kept connection at distance 0.
TARGET = 1.5

Times = dict[tuple[str, str, int], list[float]]


@dataclass
class Measured:
    """Milliseconds by database, work and distance; round trips by database and work."""

    times: Times = field(default_factory=dict)
    trips: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, name: str, work: str, distance: int, spent: float, trips: int) -> None:
        """Note one run."""
        self.times.setdefault((name, work, distance), []).append(spent)
        self.trips.setdefault((name, work), []).append(trips)

    @property
    def names(self) -> list[str]:
        """The databases that were measured, in the order of the tables."""
        found = {name for name, _, _ in self.times}
        return [name for name in (OBJECT, D1, OPTIMISTIC, KEPT, NEW, FILE) if name in found]

    def ms(self, name: str, work: str, distance: int) -> float:
        """The median."""
        return statistics.median(self.times[name, work, distance])

    def trip(self, name: str, work: str) -> int:
        """The usual number: a keep-alive of the connection adds one to a run now and then."""
        return statistics.mode(self.trips[name, work])


class Child:
    """A process with a site on one database; `far` is the proxy before the database, if it has one."""

    def __init__(self, name: str, database: dict[str, Any], far: Far | None) -> None:
        self.name, self.far = name, far
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.far_site"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
            env={key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        )
        self.ask(json.dumps(database))

    def ask(self, line: str) -> str:
        """Send a line and return the answer; raises RuntimeError if the process has ended."""
        assert self._process.stdin and self._process.stdout  # noqa: S101 - both are pipes
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline().strip()):
            raise RuntimeError(f"the site on {self.name} has ended; its traceback is above")
        return answer

    def run(self, work: str, times: int) -> tuple[float, int]:
        """Run a work some times in a row; return the milliseconds and the round trips of one run."""
        before = self.far.trips if self.far else 0
        spent = float(self.ask(f"{times} {work}"))
        return spent, (round((self.far.trips - before) / times) if self.far else 0)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def relay_databases(worker: LocalRelay, far: Far) -> dict[str, dict[str, Any]]:
    """The DATABASES entries of this package's engines, through the proxy."""
    relay = {"HOST": f"http://127.0.0.1:{far.port}", "PASSWORD": worker.token}
    d1 = {"ENGINE": "do_bridge.backends.d1", **relay}
    one, two = worker.database_ids[:2]
    return {
        OBJECT: {"ENGINE": "do_bridge.backends.durable_object", "NAME": "distance", **relay},
        D1: {**d1, "NAME": one},
        OPTIMISTIC: {**d1, "NAME": two, "OPTIONS": {"transactions": "optimistic"}},
    }


def postgres_databases(stack: contextlib.ExitStack) -> list[tuple[str, dict[str, Any], Far]]:
    """Start PostgreSQL and a proxy; return two names, each with a database of its own and the proxy.

    Raises NoPostgres, or ImportError without its library.
    """
    import psycopg

    postgres = stack.enter_context(PostgresServer(as_installed=True))
    far = stack.enter_context(Far(postgres.port))
    plain = {
        "ENGINE": "django.db.backends.postgresql",
        **postgres.database,
        "PORT": far.port,
        "OPTIONS": {"sslmode": "disable"},
    }
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for name in ("kept", "opened"):
            connection.execute(f"CREATE DATABASE {name}")
    kept = {**plain, "NAME": "kept", "CONN_MAX_AGE": None}
    return [(KEPT, kept, far), (NEW, {**plain, "NAME": "opened"}, far)]


@contextlib.contextmanager
def children(folder: Path, notes: list[str]) -> Iterator[list[Child]]:
    """Start every database and a site on each; without PostgreSQL a note says why."""
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(LocalRelay(folder / "state", source=bundle.SOURCE))
        far = stack.enter_context(Far(worker.port))
        databases = [(name, entry, far) for name, entry in relay_databases(worker, far).items()]
        try:
            databases += postgres_databases(stack)
        except (NoPostgres, ImportError) as error:
            notes.append(f"PostgreSQL was not measured: {error}.")
        local: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "site.sqlite3")}
        local["CONN_MAX_AGE"] = None
        found = []
        for name, entry, proxy in [*databases, (FILE, local, None)]:
            found.append(Child(name, entry, proxy))
            stack.callback(found[-1].close)
        yield found


def measure(sites: list[Child], rounds: dict[int, int]) -> Measured:
    """Run every work on every database in each round, in turn; a first round warms up."""
    measured = Measured()
    for distance, count in rounds.items():
        for site in sites:
            if site.far:
                site.far.delay = distance / 1000
        for number in range(count + 1):
            for work in (*PAGES, *STATEMENTS):
                for place in range(len(sites)):
                    site = sites[(place + number) % len(sites)]
                    if site.name == FILE and distance:
                        continue
                    result = site.run(work, 1 if distance else IN_A_ROW.get(work, 10))
                    if number or distance:
                        measured.add(site.name, work, distance, *result)
            for site in sites:
                site.ask("tidy")
    return measured


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(measured: Measured, rounds: dict[int, int], notes: list[str]) -> str:
    """Return the tables: round trips, times at distance 0 beside PostgreSQL's, times by distance."""
    names = measured.names
    remote = [name for name in names if name != FILE]
    works = (*PAGES, *STATEMENTS)
    trips = [[work, *(str(measured.trip(name, work)) for name in remote)] for work in works]
    parts = ["Round trips, counted by the proxy:", table(["", *remote], trips)]
    if KEPT in names:
        parts += ["Times at distance 0, as multiples of PostgreSQL with a kept connection:"]
        parts += [table(*beside_postgres(measured, names, works)), verdict(measured)]
    for distance in rounds:
        if distance:
            rows = [
                [work, *(f"{measured.ms(name, work, distance):.0f}" for name in remote)] for work in works
            ]
            parts += [f"Milliseconds with {distance} ms in each direction:", table(["", *remote], rows)]
    return "\n\n".join([*parts, *notes, machine()])


def beside_postgres(
    measured: Measured, names: list[str], works: tuple[str, ...]
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table at distance 0."""
    others = [name for name in names if name != KEPT]
    rows = []
    for work in works:
        theirs = measured.ms(KEPT, work, 0)
        ratios = [f"{measured.ms(name, work, 0) / theirs:.2f} ×" for name in others]
        rows.append([work, f"{theirs:.2f} ms", *ratios])
    return ["", KEPT, *others], rows


def verdict(measured: Measured) -> str:
    """Say whether the targets are reached."""
    ratio = measured.ms(OBJECT, "get", 0) / measured.ms(KEPT, "get", 0)
    more = [
        f"{work} on {name}"
        for work in PAGES
        for name in (OBJECT, D1, OPTIMISTIC)
        if measured.trip(name, work) > measured.trip(KEPT, work)
    ]
    sign = "reached" if ratio <= TARGET else "**missed**"
    return (
        f"`get()` on an object: {ratio:.2f} × (target ≤ {TARGET} ×: {sign}). "
        f"Pages with more round trips than PostgreSQL: {', '.join(more) or 'none'}."
    )


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, and no file is written")
    quick = parser.parse_args().quick
    rounds, notes = QUICK if quick else ROUNDS, list[str]()
    with tempfile.TemporaryDirectory() as folder, children(Path(folder), notes) as sites:
        measured = measure(sites, rounds)
        text = report(measured, rounds, notes)
    sys.stdout.write(text + "\n")
    if not quick:
        write_result("distance.md", text)
        lines = {
            work: {
                name: [(distance, measured.ms(name, work, distance)) for distance in rounds]
                for name in measured.names
                if name != FILE
            }
            for work in (*PAGES, STATEMENTS[0])
        }
        write_result("distance.svg", chart.panels(lines, "ms in each direction"))


if __name__ == "__main__":
    main()
