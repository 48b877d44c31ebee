"""One run of attacks: clients work, at random moments something is killed, then everything is looked at."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.relay import LocalRelay
from tests.driver.proxy import Proxy

from .books import make_driver_banks
from .client import LOADS, Order
from .client import run as run_client
from .inspector import Inspector
from .journal import CONFIRMED
from .judge import Fault, judge_kinds
from .kinds import KINDS, LEAST
from .plants import plant_and_find
from .setup import set_up

CLIENT, WORKERD, CUT, LOSE, STALL = "client", "workerd", "connections", "one answer", "stalled connections"
_WEIGHTS = {CLIENT: 40, WORKERD: 18, CUT: 20, LOSE: 14, STALL: 8}
# Kill points of one era: clients begin anew then, and what was before is looked at once more at the end.
_ERA = 25


@dataclass
class Limits:
    """When a run ends: after so many kill points, or so many seconds."""

    rounds: int
    seconds: float
    seed: int


@dataclass
class Report:
    """What a run was and found."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    planted: dict[str, bool] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    seconds: float = 0.0


class Clients:
    """The processes that carry the load, forked from one that has Django ready."""

    def __init__(self, order: Callable[[str, str], Order]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.torture.prepared"])
        self._order = order
        self._live: list[tuple[str, BaseProcess]] = []
        self._count = 0

    def run_to_end(self, target: Callable[..., None], *arguments: object) -> None:
        """Run a function in a process of its own; raises RuntimeError when it fails."""
        process = self._context.Process(target=target, args=arguments)
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{target.__name__} failed")

    def fill_up(self, era: int) -> None:
        """Start a client for each load that has none."""
        wanted = Counter(LOADS) - Counter(load for load, _ in self._live)
        for load in wanted.elements():
            self._count += 1
            order = self._order(load, f"e{era:03d}-{load}-{self._count}")
            process = self._context.Process(target=run_client, args=(order,))
            process.start()
            self._live.append((load, process))

    def kill(self, rng: Random) -> str:
        """Kill one client at once; return its load."""
        # By chance of the seed alone, not of which of them were started last.
        load, process = sorted(self._live, key=lambda one: one[0])[rng.randrange(len(self._live))]
        self._live.remove((load, process))
        process.kill()
        process.join()
        return load

    def kill_all(self) -> None:
        """Kill every client that is left."""
        for _, process in self._live:
            process.kill()
        self._live.clear()

    def broken(self) -> list[str]:
        """Take out the clients that have ended by themselves, which none should; return their loads."""
        ended = [load for load, process in self._live if process.exitcode is not None]
        self._live = [one for one in self._live if one[1].exitcode is None]
        return ended

    def end(self, patience: float = 60.0) -> list[str]:
        """Let every client finish what it does; return the loads of those that did not in time."""
        for _, process in self._live:
            process.terminate()
        stuck = []
        deadline = time.monotonic() + patience
        for load, process in self._live:
            process.join(max(0.1, deadline - time.monotonic()))
            if process.exitcode is None:
                stuck.append(load)
                process.kill()
                process.join()
        self._live.clear()
        return stuck


class Run:
    """Kills what its seed says, and collects what is found."""

    def __init__(self, limits: Limits, worker: LocalRelay, proxy: Proxy, folder: Path) -> None:
        self._limits = limits
        self._worker = worker
        self._proxy = proxy
        self._folder = folder
        self._rng = Random(limits.seed)  # noqa: S311 - the seed repeats a run
        self._era = 0
        self.report = Report(limits.seed)
        self._clients = Clients(self._new_order)
        self._transport = RelayTransport(worker.url, worker.token)
        self._inspector = Inspector(self._transport, folder)

    def go(self) -> Report:
        """Set up, attack, look at everything, and plant faults that must be found."""
        start = time.monotonic()
        try:
            self._clients.run_to_end(set_up, self._folder)
            make_driver_banks(self._transport)
            begun = time.monotonic()
            for point in self._points(begun):
                self._one_point(point)
            self._finish()
        finally:
            self._clients.kill_all()
        self.report.seconds = time.monotonic() - start
        return self.report

    def _points(self, begun: float) -> Iterator[int]:
        for point in range(self._limits.rounds):
            if time.monotonic() - begun > self._limits.seconds:
                return
            yield point

    def _one_point(self, point: int) -> None:
        if point and point % _ERA == 0:
            self._end_clients()
            self._look("the end of an era", quiet=True)
            self._era += 1
        self._note_broken()
        with self._timed("start of clients", 20):
            self._clients.fill_up(self._era)
        time.sleep(self._rng.uniform(0.05, 0.9))
        kind = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        told = self._strike(kind)
        self.report.kills[told] += 1
        self._look(told)
        say(f"{time.strftime('%X')} {point + 1}: {told}; {len(self.report.faults)} faults")

    def _strike(self, kind: str) -> str:
        if kind == CLIENT:
            return f"client ({self._clients.kill(self._rng)})"
        if kind == WORKERD:
            self._worker.kill()
            with self._timed("restart of the Worker", 60):
                self._worker.restart()
        elif kind == LOSE:
            self._proxy.lose_answers = 1
        else:
            if kind == STALL:
                self._proxy.stalled = True
                time.sleep(self._rng.uniform(0.2, 1.0))
            self._proxy.cut()
            self._proxy.release()
        return kind

    def _look(self, after: str, quiet: bool = False) -> None:
        with self._timed("look", 20, f"after {after}"):
            self.report.faults += self._inspector.look(f"e{self._era:03d}", quiet=quiet)

    def _finish(self) -> None:
        self._end_clients()
        self._clients.fill_up(self._era)  # the next holder finishes what was left
        with self._timed("work in peace", 60):
            self._wait_for_every_load()
        self._end_clients()
        try:
            with self._timed("repair", 60):
                self._clients.run_to_end(repair)
        except RuntimeError as error:
            self.report.faults.append(Fault("not repaired", "the tenants", str(error)))
        eras = [f"e{era:03d}" for era in range(self._era + 1)]
        with self._timed("look at everything", 120):
            self.report.faults += self._inspector.look_at_everything(eras)
        self.report.faults += self._inspector.look_at_repaired()
        self._inspector.tell(self.report)
        self.report.faults += judge_kinds(self.report.outcomes)
        with self._timed("planted faults", 120):
            self.report.planted = plant_and_find(self._transport, self._inspector, eras[-1], self._worker)

    def _wait_for_every_load(self, patience: float = 120.0) -> None:
        """Let the clients work until each load has done something, on a slow machine too."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            operations = self._inspector.journals.read().values()
            done = Counter(one.kind for one in operations if one.end == CONFIRMED)
            if all(sum(done[kind] for kind in kinds) >= LEAST for kinds in KINDS):
                return
            time.sleep(0.2)

    def _new_order(self, load: str, name: str) -> Order:
        return Order(load, name, self._rng.getrandbits(32), self._proxy.url, self._worker.token, self._folder)

    def _note_broken(self) -> None:
        for load in self._clients.broken():
            self.report.faults.append(Fault("client ended", load, "by itself"))

    def _end_clients(self) -> None:
        self._note_broken()
        with self._timed("end of all clients", 60):
            stuck = self._clients.end()
        for load in stuck:
            self.report.faults.append(Fault("stuck", load, "a client did not end within a minute"))

    @contextmanager
    def _timed(self, step: str, most: float, of: str = "") -> Iterator[None]:
        """Add up what each step takes, and note where it took unreasonably long."""
        start = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - start
            self.report.spent[step] += took
            if took > most:
                self.report.slow.append(f"{step} {of}: {took:.1f} s")


def repair() -> None:
    """What an operator does afterwards: migrate D1 and all tenants; in a process of its own."""
    from do_bridge.backends.remote_sqlite.migrate.progress import UnfinishedMigration

    from .load_tenants import quietly

    try:
        quietly("migrate", database="default")
    except UnfinishedMigration:
        # It says so of a migration that was cut off while it was unapplied: this finishes it.
        quietly("migrate", "yard", "zero", database="default")
        quietly("migrate", database="default")
    quietly("migrate", database="tenant", jobs=3)


def say(text: str) -> None:
    """One line to the terminal, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
