"""The faults: connections cut and stalled, processes killed, a tenant flooded or held by a lease."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from do_bridge import driver
from do_bridge.relay import LocalRelay
from tests.driver.proxy import Proxy
from tests.leak.actor import Cast
from tests.soak.book import Book, Fault

LEASE = 3.0  # of the client that holds a tenant


@dataclass
class Stage:
    """What there is to break."""

    worker: LocalRelay
    proxy: Proxy
    site: str
    gunicorn: int  # the leader of the process group
    cast: Cast
    patience: float = 15.0  # seconds within which the site is to work again
    flooding: float = 5.0  # seconds


def cut(stage: Stage, chance: random.Random) -> None:
    """Cut every connection between gunicorn and the relay, a few times."""
    for _ in range(3):
        stage.proxy.cut()
        time.sleep(chance.random() / 2)


def stall(stage: Stage, chance: random.Random) -> None:
    """Hold the relay's answers back."""
    stage.proxy.stall(1 + 3 * chance.random())


def lose_answers(stage: Stage, chance: random.Random) -> None:
    """Close connections instead of passing the next answers on."""
    stage.proxy.lose_answers = 5
    time.sleep(1)
    stage.proxy.lose_answers = 0


def kill_workerd(stage: Stage, chance: random.Random) -> None:
    """Kill the runtime and what started it, and start both again on the same data."""
    stage.worker.kill()
    time.sleep(chance.random())
    stage.worker.start()


def kill_gunicorn_worker(stage: Stage, chance: random.Random) -> None:
    """Kill one of gunicorn's processes; the first one starts another."""
    workers = gunicorn_workers(stage.gunicorn)
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(workers), signal.SIGKILL)


def flood(stage: Stage, chance: random.Random) -> None:
    """Ask one tenant for pages as fast as it gives them, from many threads."""
    until, slug = time.monotonic() + stage.flooding, chance.choice(stage.cast.slugs)

    def ask() -> None:
        with httpx.Client(base_url=stage.site, trust_env=False, timeout=30) as client:
            while time.monotonic() < until:
                with contextlib.suppress(httpx.TransportError):
                    client.get(f"/t/{slug}/")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hold(stage: Stage, chance: random.Random) -> None:
    """Open a transaction on a tenant and leave it, so that its lease has to end it."""
    slug = chance.choice(stage.cast.slugs)
    transport = driver.relay(stage.worker.url, stage.worker.token)
    with driver.connect(transport, f"do:tenant/{slug}", lease=LEASE) as connection:
        connection.begin()
        connection.execute("UPDATE blog_post SET title = 'nobody''s' WHERE id = 1")
        time.sleep(LEASE + 1)
        with contextlib.suppress(driver.Error):
            connection.commit()


FAULTS: list[Callable[[Stage, random.Random], None]] = [cut, stall, lose_answers, flood, hold]
# Apart, because memory can be judged only of a process that lives long.
KILLS = [kill_workerd, kill_gunicorn_worker]


@dataclass(frozen=True)
class Schedule:
    """When to break something: seconds between two faults, and how long nothing is killed."""

    seed: str
    pause: float
    without_kills: float


def disturb(stage: Stage, schedule: Schedule, book: Book, over: threading.Event) -> None:
    """Make one fault after another until it is over; each kind once at least."""
    chance, started = random.Random(schedule.seed), time.monotonic()  # noqa: S311
    killed = False
    while not (over.is_set() and killed):
        kills = over.is_set() or time.monotonic() > started + schedule.without_kills
        kinds = FAULTS + KILLS if kills else FAULTS
        for fault in chance.sample(kinds, len(kinds)):
            if over.wait(schedule.pause * (0.7 + 0.6 * chance.random())) and killed:
                return
            with book.fault(fault.__name__) as noted:
                fault(stage, chance)
            recover(stage, chance.choice(stage.cast.slugs), noted)
        killed = killed or kills


def recover(stage: Stage, slug: str, fault: Fault) -> None:
    """Note after how long a tenant's page works again."""
    with httpx.Client(base_url=stage.site, trust_env=False, timeout=stage.patience) as client:
        while time.monotonic() < fault.ended + stage.patience:
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"/t/{slug}/").status_code == 200:
                    fault.recovered = time.monotonic() - fault.ended
                    return
            time.sleep(0.1)


def gunicorn_workers(group: int) -> list[int]:
    """Return the processes that serve: those whose parent is gunicorn's first one."""
    parents = {pid: parent for pid, parent, own in _processes() if own == group}
    guards = {pid for pid in parents if parents[pid] not in parents}
    first = {pid for pid in parents if parents[pid] in guards}
    return sorted(pid for pid in parents if parents[pid] in first)


def _processes() -> list[tuple[int, int, int]]:
    """Return (pid, parent, process group) of every process (Linux)."""
    rows = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                rows.append((int(place.parent.name), int(fields[1]), int(fields[2])))
    return rows
