"""What the roles of the leak test share: a budget, a choice among operations, a book of failures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.leak.actor import Actor
from tests.leak.marks import MixUp, Tally

# Under faults: the seconds that a call may take, and a transaction.
IMPATIENT = {"timeout": 0.8, "lease": 0.4}


class Budget:
    """So many operations, until a moment."""

    def __init__(self, operations: int, seconds: float) -> None:
        self._left = operations
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Note that so many were done."""
        with self._lock:
            self._left -= count

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing more to do."""
        return self._left <= 0 or time.monotonic() > self._until


class Table:
    """Operations, and how often each is chosen."""

    def __init__(self, *operations: dict[Any, int]) -> None:
        self._functions = [function for table in operations for function in table]
        self._weights = [weight for table in operations for weight in table.values()]

    def choose(self, actor: Actor) -> tuple[str, Callable[..., Any]]:
        """Return the name of an operation, and the operation."""
        (function,) = actor.random.choices(self._functions, self._weights)
        return f"{function.__module__.rpartition('.')[2]}.{function.__name__}", function


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
    """Run `work` in so many threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
