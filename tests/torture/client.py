"""A client of the attacks: a process that works through its load until it is killed or told to end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from django.db import Error as DjangoError

from do_bridge import driver

from .journal import CONFIRMED, Journal, Journals
from .load_driver import DriverLoad
from .load_orm import OrmLoad
from .load_tenants import TenantsLoad
from .outcomes import outcome

LOADS = ("driver", "driver", "orm", "tenants")
# The journals of clients with the load "tenants".
TENANTS = "*-tenants-*.journal"


@dataclass(frozen=True)
class Order:
    """What a client is to do: `name` begins its operations' names, `pause` is the longest between two."""

    load: str
    name: str
    seed: int
    url: str
    token: str
    folder: Path
    pause: float = 0.02


class _End:
    """Whether the client was told to end."""

    told = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.told = True


def run(order: Order) -> None:
    """Work until SIGTERM; in a process of its own."""
    end = _End()
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = Random(order.seed)  # noqa: S311 - the seed repeats a run
    journal = Journal(order.folder / f"{order.name}.journal")
    load = _load(order, rng)
    count = 0
    parent = os.getppid()
    while not end.told and os.getppid() == parent:
        count += 1
        op = f"{order.name}-{count}"
        _one(journal, load, op)
        time.sleep(rng.uniform(0, order.pause))


def _load(order: Order, rng: Random) -> Any:
    if order.load == "driver":
        return DriverLoad(driver.relay(order.url, order.token), rng)
    if order.load == "orm":
        return OrmLoad(rng)
    return TenantsLoad(rng, order.folder, Journals(order.folder, TENANTS).read().values())


def _one(journal: Journal, load: Any, op: str) -> None:
    try:
        task = load.pick(op)
    except DjangoError:
        return  # only a read was needed to choose
    journal.begin(op, task.kind, task.book, task.rows, task.slugs)
    start = time.monotonic()
    try:
        task.work()
    except Exception as error:
        journal.end(op, outcome(error), time.monotonic() - start, f"{type(error).__name__}: {error}")
        if task.slugs:
            load.failed(op, task)
    else:
        journal.end(op, CONFIRMED, time.monotonic() - start)
