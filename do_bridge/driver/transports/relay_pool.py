"""The relay sessions of one process, shared by its threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from do_bridge.driver.exceptions import OperationalError
from do_bridge.driver.transport import Deadline

from .keeper import Keeper
from .secret import Secret

if TYPE_CHECKING:
    from .relay_session import RelaySession

# Seconds. No longer, because a caller that releases a session from a finalizer, or is interrupted, may never
# notify us.
_LOOKS_AGAIN: Final = 1.0

# Sessions inherited over a fork. They are kept, so that the child never closes them.
_inherited: Final[list[RelaySession]] = []


class _Place:
    """Room for one session.

    It is free once nothing refers to it, so that an interrupt never loses it.
    """


class _Turn(threading.Condition):
    """The turn of a thread that waits; over once only the queue refers to it."""

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__(lock)
        self.thread = threading.current_thread()


_pools: Final[weakref.WeakSet[RelayPool]] = weakref.WeakSet()


class RelayPool:
    """A pool of at most ``size`` relay sessions.

    A thread gets a free session that it had before, else the last one used. The relay holds the last call of
    a session to an object for a moment, so the next call on that session is answered sooner. A thread whose
    transaction holds a session uses that session for everything else, too. If all are in use, the thread that
    has waited longest comes first.
    """

    _keeper: Keeper | None

    def __init__(self, url: str, token: str, *, size: int, connect_timeout: float) -> None:
        self.url = url
        self.size = size
        self.connect_timeout = connect_timeout
        self._token = Secret(token)
        self._start()
        _pools.add(self)

    def acquire(self, deadline: Deadline) -> RelaySession:
        """Return a session that is not known to be closed; give it back with ``release``.

        Raises OperationalError if the relay cannot be reached, or no session is free in time.
        """
        dead: list[RelaySession] = []
        try:
            taken = self._take(deadline, dead)
        finally:
            for gone in dead:
                gone.close()
        session = self._open(taken, deadline) if isinstance(taken, _Place) else taken
        self._local.session = weakref.ref(session)
        return session

    def release(self, session: RelaySession) -> None:
        """Give a session back; its last holder closes it if it is exhausted."""
        if session.pid != os.getpid():
            return
        keeper = self._keeper
        if keeper is not None and keeper.spares and session.is_running_out:
            keeper.wake()
        with self._lock:
            session.holders -= 1
            if session.holders:
                return
            # It is busy but no call uses it: a call was interrupted while it took the session's lock.
            keep = not session.busy and self._fit(session) and session in self._sessions
            if keep:
                self._idle.append(session)
            elif session in self._sessions:
                self._forget(session)
            self._call_next()
        if not keep:
            session.close()

    def keep_spares(self, count: int) -> None:
        """Keep ``count`` sessions open that no call has needed yet.

        A thread of this process opens them. The child of a fork keeps none until it calls this itself.
        ``close`` ends it.
        """
        with self._lock:
            if self._keeper is None and count:
                self._keeper = Keeper(self, count)
            elif self._keeper is not None:
                self._keeper.spares = max(self._keeper.spares, count)
                self._keeper.wake()

    def keep_alive(self) -> None:
        """Ping the silent ones of the idle sessions, and end those that do not answer."""
        with self._lock:
            for session in list(self._idle):
                session.keep_alive()

    def add_spare(self) -> bool:
        """Open an idle session if too few are fresh and the pool has room.

        Return whether a session was opened. Raises OperationalError or InterfaceError if the relay cannot be
        reached.
        """
        with self._lock:
            gone = [session for session in self._idle if not self._fit(session)]
            for session in gone:
                self._idle.remove(session)
                self._forget(session)
            fresh = sum(not session.is_running_out for session in self._idle)
            wanted = self._keeper is not None and fresh < self._keeper.spares
            place = _Place() if wanted and len(self._places) < self.size else None
            if place is not None:
                self._places.add(place)
        for session in gone:
            session.close()
        if place is None:
            return False
        opened = self._open(place, Deadline(self.connect_timeout))
        with self._lock:
            opened.holders, opened.holder = 0, None
            kept = self._keeper is not None and opened in self._sessions
            if kept:
                # The last one is used first.
                self._idle.insert(0, opened)
                self._call_next()
            else:
                self._forget(opened)
        if not kept:
            opened.close()
        return kept

    def close(self) -> None:
        """Close all sessions of this process; open transactions are rolled back."""
        with self._lock:
            if self._keeper is not None:
                self._keeper.stop()
                self._keeper = None
            sessions = list(self._sessions)
            for session in sessions:
                self._forget(session)
            self._idle.clear()
            self._call_next()
        for session in sessions:
            session.close()

    def counts(self) -> tuple[int, int]:
        """Return the number of open sessions, and of those that are idle."""
        with self._lock:
            return len(self._sessions), len(self._idle)

    def start_anew(self) -> None:
        """Leave the sessions to the parent, in the child of a fork."""
        _inherited.extend(self._sessions)
        self._start()

    def _start(self) -> None:
        # A lock that its holder may take again, because a forgotten transaction releases its session
        # anywhere.
        self._lock = threading.RLock()
        self._queue: deque[weakref.ref[_Turn]] = deque()
        self._local = threading.local()
        self._idle: list[RelaySession] = []
        self._keeper = None
        self._sessions: weakref.WeakSet[RelaySession] = weakref.WeakSet()
        self._places: weakref.WeakSet[object] = weakref.WeakSet()

    def _take(self, deadline: Deadline, dead: list[RelaySession]) -> RelaySession | _Place:
        """Return a held or idle session, or a place for a new one."""
        mine: RelaySession | None = getattr(self._local, "session", lambda: None)()
        me = threading.current_thread()
        with self._lock:
            # Once released, the session may serve another thread, whose call might wait for the very object
            # that the transaction holds, and so keep the transaction from its end. A busy session serves the
            # call that a signal's handler interrupted.
            held = mine is not None and mine.holders and mine.holder is me
            if mine is not None and held and not mine.busy and self._fit(mine):
                mine.holders += 1
                return mine
            if self._first() is not None or not self._has_room():
                self._wait(deadline)
            while self._idle:
                session = self._pick(mine)
                session.catch_up()
                if self._fit(session):
                    session.holders, session.holder = 1, me
                    self._wake_keeper()
                    return session
                self._forget(session)
                dead.append(session)
            place = _Place()
            self._places.add(place)
            return place

    def _wake_keeper(self) -> None:
        if self._keeper is not None and len(self._idle) < self._keeper.spares:
            self._keeper.wake()

    def _has_room(self) -> bool:
        return bool(self._idle) or len(self._places) < self.size

    def _wait(self, deadline: Deadline) -> None:
        """Wait for a session that is idle or may be opened.

        Threads that have waited longer come first.
        """
        turn = _Turn(self._lock)
        # A signal's handler goes before the call of its own thread that it interrupts.
        waiting = [known.thread if (known := other()) else None for other in self._queue]
        at = waiting.index(turn.thread) if turn.thread in waiting else len(waiting)
        self._queue.insert(at, weakref.ref(turn))
        try:
            while self._first() is not turn or not self._has_room():
                left = deadline.remaining()
                if not left:
                    raise OperationalError(
                        f"All {self.size} relay sessions of this process were in use for "
                        f"{deadline.seconds:g} seconds. Raise OPTIONS['pool_size'], or shorten the "
                        "transactions",
                        effect="none",
                    )
                turn.wait(min(left, _LOOKS_AGAIN))
        finally:
            self._queue.remove(weakref.ref(turn))
            self._call_next()

    def _first(self) -> _Turn | None:
        """Return the turn of the thread that has waited longest."""
        while self._queue:
            turn = self._queue[0]()
            if turn is not None:
                return turn
            self._queue.popleft()
        return None

    def _call_next(self) -> None:
        turn = self._first()
        if turn is not None:
            turn.notify()

    def _pick(self, mine: RelaySession | None) -> RelaySession:
        """Take out the thread's own session if it is idle, else the last one used."""
        if mine is not None and mine in self._idle:
            self._idle.remove(mine)
            return mine
        return self._idle.pop()

    def _open(self, place: _Place, deadline: Deadline) -> RelaySession:
        # Imported late: its library takes a tenth of a command's start, and many commands open no session.
        try:
            from .relay_session import RelaySession

            session = RelaySession(
                self.url, self._token, connect_timeout=self.connect_timeout, deadline=deadline
            )
        except BaseException:
            with self._lock:
                self._places.discard(place)
                self._call_next()
            raise
        session.place, session.holders, session.holder = place, 1, threading.current_thread()
        with self._lock:
            self._sessions.add(session)
            if self._keeper is None:
                # Without a thread a session is lost after some idle time, and the next call opens another.
                with suppress(RuntimeError):
                    self._keeper = Keeper(self)
        return session

    def _fit(self, session: RelaySession) -> bool:
        return session.usable and not session.exhausted

    def _forget(self, session: RelaySession) -> None:
        self._sessions.discard(session)
        self._places.discard(session.place)


def _start_all_anew() -> None:
    for pool in list(_pools):
        pool.start_anew()


if hasattr(os, "register_at_fork"):
    # Replace them at once: two threads that find out later would take each other's sessions away.
    os.register_at_fork(after_in_child=_start_all_anew)


def session_counts() -> tuple[int, int]:
    """Return the numbers of used and of idle relay sessions of this process."""
    used = idle = 0
    for pool in list(_pools):
        all_of_it, free = pool.counts()
        used, idle = used + all_of_it - free, idle + free
    return used, idle
