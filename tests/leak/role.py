"""What the roles of the leak test share: a budget, a choice among operations, a book of failures."""

from __future__ import annotations

import contextlib
import itertools
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.leak.actor import Actor
from tests.leak.marks import MixUp, Tally

# Under faults: the seconds that a call may take, and a transaction.
IMPATIENT = {"timeout": 0.8, "lease": 0.4}
_NOTED_AFTER = 50  # operations that other processes need not know of at once


class Progress:
    """A file in which each process of a run notes how many operations it has done."""

    _NUMBER = struct.Struct("<q")

    def __init__(self, path: Path, place: int) -> None:
        self._file = path.open("r+b", buffering=0)
        self._place = place * self._NUMBER.size

    @classmethod
    def begin(cls, path: Path, processes: int) -> None:
        """Write the file for so many of them."""
        path.write_bytes(bytes(processes * cls._NUMBER.size))

    def note(self, done: int) -> int:
        """Write what this process has done; return what all of them have."""
        self._file.seek(self._place)
        self._file.write(self._NUMBER.pack(done))
        self._file.seek(0)
        return sum(number for (number,) in self._NUMBER.iter_unpack(self._file.read()))


class Budget:
    """A role's part of the operations, until a moment.

    Roles are to end together. One that has done half of its part ends when all have done `total`, and the one
    that `fills` goes on until then.
    """

    def __init__(self, part: int, total: int, seconds: float, progress: Progress, *, fills: bool) -> None:
        self._part = part
        self._total = total
        self._until = time.monotonic() + seconds
        self._progress = progress
        self._fills = fills
        self._lock = threading.Lock()
        self._done = self._noted = self._all = 0

    def take(self, count: int) -> None:
        """Note that so many were done."""
        with self._lock:
            self._done += count
            if self._done - self._noted >= _NOTED_AFTER or self._done >= self._part:
                self._noted, self._all = self._done, self._progress.note(self._done)

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing more to do."""
        if time.monotonic() > self._until:
            return True
        all_done = self._all >= self._total and self._done >= self._part / 2
        return all_done or (self._done >= self._part and not self._fills)


class Table:
    """Operations, and how often each is chosen."""

    def __init__(self, *operations: dict[Any, int]) -> None:
        self._functions = [function for table in operations for function in table]
        weights = (weight for table in operations for weight in table.values())
        self._up_to = list(itertools.accumulate(weights))

    def choose(self, actor: Actor) -> tuple[str, Callable[..., Any]]:
        """Return the name of an operation, and the operation."""
        (function,) = actor.random.choices(self._functions, cum_weights=self._up_to)
        return f"{function.__module__.removeprefix('tests.leak.')}.{function.__name__}", function


@contextlib.contextmanager
def noting(tally: Tally, kind: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Take down what goes wrong in the block; errors that are not `expected` make the run fail."""
    try:
        yield
    except MixUp as error:
        tally.mixed(kind, error)
    except Exception as error:
        tally.failed(kind, error, expected=isinstance(error, expected))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in so many threads, and wait for them; raises what one of them has raised."""
    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(work, number) for number in range(count)]
    for one in running:
        one.result()


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `work` beside the block, until the event says that it is over; raises what it has raised."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, over)
        try:
            yield
        finally:
            over.set()
    running.result()
