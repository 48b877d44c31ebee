"""The relay sessions of one process, shared by its threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from typing import Final

from .exceptions import OperationalError
from .relay_session import RelaySession
from .secret import Secret
from .transport import Deadline

# Seconds. Not longer: who gives a session back in a finalizer, or is interrupted, may call nobody.
_LOOKS_AGAIN: Final = 1.0

# Sessions that came over a fork: kept, so that nothing of theirs is ever closed here.
_inherited: Final[list[RelaySession]] = []


class _Place:
    """Room for one session; free once nothing refers to it, so that an interrupt anywhere loses none."""


class _Turn(threading.Condition):
    """The turn of a thread that waits; over once nothing but the queue knows it."""

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__(lock)
        self.thread = threading.current_thread()


_pools: Final[weakref.WeakSet[RelayPool]] = weakref.WeakSet()


class RelayPool:
    """At most ``size`` sessions; one that is free goes to the thread that had it, else the one used last.

    The relay holds a session's last call to an object for a moment: what follows on it is answered sooner.
    A thread whose transaction holds a session uses it for all else, too: it needs no second one.
    Where all are in use, whoever has waited longest is served first.
    """

    def __init__(self, url: str, token: str, *, size: int, connect_timeout: float) -> None:
        self.url = url
        self.size = size
        self.connect_timeout = connect_timeout
        self._token = Secret(token)
        self._start()
        _pools.add(self)

    def acquire(self, deadline: Deadline) -> RelaySession:
        """Return a session that is not known to be closed; give it back by ``release``.

        Raises OperationalError when the relay cannot be reached, or when no session comes free in time.
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
        """Give a session back; the last holder of one that is spent closes it."""
        if session.pid != os.getpid():
            return
        with self._lock:
            session.holders -= 1
            if session.holders:
                return
            # Busy with nobody's call: one was interrupted as it took the session's lock, and keeps it.
            keep = self._fit(session) and not session.busy and session in self._sessions
            if keep:
                self._idle.append(session)
            elif session in self._sessions:
                self._forget(session)
            self._call_next()
        if not keep:
            session.close()

    def close(self) -> None:
        """Close all sessions of this process; open transactions are rolled back."""
        with self._lock:
            sessions = list(self._sessions)
            for session in sessions:
                self._forget(session)
            self._idle.clear()
            self._call_next()
        for session in sessions:
            session.close()

    def start_anew(self) -> None:
        """Leave the sessions to the parent, in the child of a fork."""
        _inherited.extend(self._sessions)
        self._start()

    def _start(self) -> None:
        # One that its holder may take again: a transaction that is forgotten gives its session back anywhere.
        self._lock = threading.RLock()
        self._queue: deque[weakref.ref[_Turn]] = deque()
        self._local = threading.local()
        self._idle: list[RelaySession] = []
        self._sessions: weakref.WeakSet[RelaySession] = weakref.WeakSet()
        self._places: weakref.WeakSet[object] = weakref.WeakSet()

    def _take(self, deadline: Deadline, dead: list[RelaySession]) -> RelaySession | _Place:
        """Return a held or idle session, or a place for a new one."""
        mine: RelaySession | None = getattr(self._local, "session", lambda: None)()
        me = threading.current_thread()
        with self._lock:
            # Once given back it may be another thread's: a call that waited there for the very object whose
            # transaction the session carries would keep that transaction from its end.
            # A busy one is the call's in whose middle this thread runs a signal's handler.
            held = mine is not None and mine.holders and mine.holder is me
            if mine is not None and held and self._fit(mine) and not mine.busy:
                mine.holders += 1
                return mine
            if self._first() is not None or not self._has_room():
                self._wait(deadline)
            while self._idle:
                session = self._pick(mine)
                if self._fit(session):
                    session.holders, session.holder = 1, me
                    return session
                self._forget(session)
                dead.append(session)
            place = _Place()
            self._places.add(place)
            return place

    def _has_room(self) -> bool:
        return bool(self._idle) or len(self._places) < self.size

    def _wait(self, deadline: Deadline) -> None:
        """Wait for a session that is idle, or may be opened, behind those who have waited longer."""
        turn = _Turn(self._lock)
        # A signal's handler goes before the call of its thread in whose middle it runs.
        waiting = [known.thread if (known := other()) else None for other in self._queue]
        at = waiting.index(turn.thread) if turn.thread in waiting else len(waiting)
        self._queue.insert(at, weakref.ref(turn))
        try:
            while self._first() is not turn or not self._has_room():
                left = deadline.remaining()
                if not left:
                    raise OperationalError(
                        f"All {self.size} relay sessions of this process were in use for "
                        f"{deadline.seconds:g} seconds; raise pool_size or shorten the transactions",
                        effect="none",
                    )
                turn.wait(min(left, _LOOKS_AGAIN))
        finally:
            self._queue.remove(weakref.ref(turn))
            self._call_next()

    def _first(self) -> _Turn | None:
        """Return the turn of whoever has waited longest."""
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
        """Take out the thread's own session where it is idle, else the one used last."""
        if mine is not None and mine in self._idle:
            self._idle.remove(mine)
            return mine
        return self._idle.pop()

    def _open(self, place: _Place, deadline: Deadline) -> RelaySession:
        try:
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
    # At once: of two threads that notice it later, each would take the other's sessions away.
    os.register_at_fork(after_in_child=_start_all_anew)
