"""Looks after the sessions that no call uses.

It pings them, and opens others ahead of need, so that no call waits for a handshake.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref

# Bound here, so that a test that replaces time.monotonic() for its own code does not reach ours.
from time import monotonic
from typing import TYPE_CHECKING, Final

from do_bridge.driver.exceptions import Error

from .wire import PATIENCE

if TYPE_CHECKING:
    from .relay_pool import RelayPool

logger = logging.getLogger("do_bridge.driver")

# Seconds between two checks of idle sessions, and after a failure at first and at most.
_LOOKS: Final = PATIENCE
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0


class Keeper:
    """The thread that keeps idle sessions alive, and ``spares`` fresh ones open.

    It ends with the process. The constructor raises RuntimeError if no thread can be started.
    """

    def __init__(self, pool: RelayPool, spares: int = 0) -> None:
        self.spares = spares
        # Its put() may be interrupted by another, which a signal's handler or a finalizer makes.
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread = threading.Thread(
            target=_keep, args=(weakref.ref(pool), self._wakes), name="do_bridge-keeper", daemon=True
        )
        self.thread.start()

    def wake(self) -> None:
        """Have the thread look at the pool now."""
        if self._wakes.empty():
            self._wakes.put(True)

    def stop(self) -> None:
        """Have the thread end, without waiting for it."""
        self._wakes.put(False)


def _keep(find_pool: weakref.ref[RelayPool], wakes: queue.SimpleQueue[bool]) -> None:
    wait = 0.0
    while True:
        pool = find_pool()
        if pool is None:
            return
        try:
            pool.keep_alive()
            while pool.add_spare():
                pass
            wait = 0.0
        except Error as error:
            wait = min(max(wait * 2, _FIRST_WAIT), _LONGEST_WAIT)
            # The next call to the relay raises the same error.
            logger.debug("No relay session could be opened ahead: %s", error)
        # While this waits, no reference may keep the pool alive.
        del pool
        if not _rest(wakes, wait):
            return


def _rest(wakes: queue.SimpleQueue[bool], wait: float) -> bool:
    """Wait until the next check of the pool, and return whether to go on.

    ``wait`` is the pause in seconds after a failure, which no call shortens, or 0.
    """
    until = monotonic() + (wait or _LOOKS)
    while (left := until - monotonic()) > 0:
        try:
            if not wakes.get(timeout=left):
                return False
        except queue.Empty:
            return True
        if not wait:
            return True
    return True
