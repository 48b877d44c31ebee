"""Two commands begun one shortly after the other, at many offsets, on a tenant that is there and on none."""

from __future__ import annotations

import time
from multiprocessing.connection import wait
from typing import Any

from . import worker
from .oracle import Done, judge
from .run import PLACES, Report, Run, _Process, read_tenant

LONGEST = 0.15
_PAIRS = (
    ("delete", "create"),
    ("delete", "migrate all"),
    ("delete", "migrate one"),
    ("delete", "read"),
    ("delete", "post"),
    ("delete", "copy"),
    ("delete", "load"),
    ("delete", "delete"),
    ("create", "load"),
    ("create", "copy"),
    ("load", "copy"),
    ("create", "create"),
    ("migrate back", "read"),
    ("move", "move"),
    ("move", "read"),
    ("move", "post"),
    ("move", "delete"),
    ("move", "migrate one"),
    ("rewind", "read"),
    ("rewind", "delete"),
    ("rewind", "migrate one"),
    ("rewind", "rewind"),
)


class Pairs(Run):
    """Each pair at each offset, in both orders, so many times."""

    def __init__(self, seed: int, rounds: int) -> None:
        super().__init__(seed, 0)
        self._rounds = rounds

    def go(self) -> Report:
        start = time.monotonic()
        with worker.here():
            self._set_up()
        processes = [_Process(self._context) for _ in range(2)]
        for number in range(self._rounds):
            for first, second in _PAIRS:
                offset = LONGEST * self._rng.random()
                self._pair(processes, number, (first, second), offset)
                self._pair(processes, number, (second, first), offset)
        for one in processes:
            one.process.kill()
        self.report.seconds = time.monotonic() - start
        return self.report

    def _pair(self, processes: list[_Process], number: int, names: tuple[str, str], offset: float) -> None:
        self._count += 1
        slug = f"pair-{self._count}"
        history: list[Done] = []
        with worker.here():
            if {"delete", "migrate back", "move", "rewind"} & {*names}:
                assert worker.run("create", (slug,))[0] == "ok"
            if "rewind" in names:
                assert worker.run("bookmark", (slug,))[0] == "ok"
        for one, name in zip(processes, names, strict=True):
            one.doing = Done(name, (slug,), time.monotonic(), title=f"{slug}:1" if name == "post" else "")
            history.append(one.doing)
            one.orders.send((name, self._arguments(name, slug)))
            self.report.operations += 1
            if one is processes[0]:
                time.sleep(offset)
        while busy := {one.orders: one for one in processes if one.doing}:
            for ready in wait(list(busy)):
                self._end(busy[ready], ready)  # type: ignore[index]
        with worker.here():
            faults = judge(read_tenant(slug), history)
            faults += self._still_works(slug)
        self.report.looks += 1
        told = [f"{one.name}: {one.answer} {one.why[:150]}" for one in history]
        self.report.faults += [f"{names} after {offset:.3f} s: {fault}; {told}" for fault in faults]

    def _arguments(self, name: str, slug: str) -> tuple[Any, ...]:
        return {
            "migrate all": (),
            "copy": ("source", slug),
            "load": (slug, str(self._folder / "dump.sqlite3")),
            "post": (slug, f"{slug}:1"),
            "move": (slug, self._rng.choice(PLACES[1:])),
        }.get(name, (slug,))

    @staticmethod
    def _still_works(slug: str) -> list[str]:
        """Return what does not hold of a slug that is deleted and made again, whatever it was."""
        faults = []
        for name in ("delete", "create", "read"):
            answer, why = worker.run(name, (slug,))
            if answer != "ok" and not (name == "delete" and "does not exist" in why):
                faults.append(f"afterwards {name} {answer}: {why}")
        worker.run("delete", (slug,))
        return faults
