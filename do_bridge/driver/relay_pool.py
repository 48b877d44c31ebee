"""The relay sessions of one process, shared by its threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final

from .exceptions import OperationalError
from .relay_session import RelaySession
from .secret import Secret
from .transport import Deadline

# Sessions that came over a fork: kept, so that nothing of theirs is ever closed here.
_inherited: Final[list[RelaySession]] = []


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

    def acquire(self, deadline: Deadline) -> RelaySession:
        """Return a session that is not known to be closed; give it back by ``release``.

        Raises OperationalError when the relay cannot be reached, or when no session comes free in time.
        """
        if self._pid != os.getpid():
            _inherited.extend(self._sessions)
            self._start()
        dead: list[RelaySession] = []
        try:
            session = self._take(deadline, dead)
        finally:
            for gone in dead:
                gone.close()
        if session is None:
            session = self._open(deadline)
        self._local.session = session
        return session

    def release(self, session: RelaySession) -> None:
        """Give a session back; the last holder of one that is spent closes it."""
        if session.pid != os.getpid():
            return
        with self._lock:
            session.holders -= 1
            if session.holders:
                return
            keep = session.usable and not session.exhausted and session in self._sessions
            if keep:
                self._idle.append(session)
            elif session in self._sessions:
                self._forget(session)
            self._call_next()
        if not keep:
            session.close()

    def close(self) -> None:
        """Close all sessions of this process; open transactions are rolled back."""
        if self._pid != os.getpid():
            return
        with self._lock:
            sessions = list(self._sessions)
            self._sessions.clear()
            self._idle.clear()
            self._count = 0
            self._call_next()
        for session in sessions:
            session.close()

    def _start(self) -> None:
        # One that its holder may take again: a transaction that is forgotten gives its session back anywhere.
        self._lock = threading.RLock()
        self._queue: deque[threading.Condition] = deque()
        self._local = threading.local()
        self._idle: list[RelaySession] = []
        self._sessions: set[RelaySession] = set()
        self._count = 0
        # Last: another thread that sees it must not find the parent's lock, which may be held for ever.
        self._pid: int = os.getpid()

    def _take(self, deadline: Deadline, dead: list[RelaySession]) -> RelaySession | None:
        """Return a held or idle session, or None with a place reserved for a new one."""
        mine: RelaySession | None = getattr(self._local, "session", None)
        me = threading.current_thread()
        with self._lock:
            # Once given back it may be another thread's: a call that waited there for the very object whose
            # transaction the session carries would keep that transaction from its end.
            # A busy one is the call's in whose middle this thread runs a signal's handler.
            held = mine is not None and mine.holders and mine.holder is me
            if mine is not None and held and self._fit(mine) and not mine.busy:
                mine.holders += 1
                return mine
            if self._queue or not self._has_room():
                self._wait(deadline)
            while self._idle:
                session = self._pick(mine)
                if self._fit(session):
                    session.holders, session.holder = 1, me
                    return session
                self._forget(session)
                dead.append(session)
            self._count += 1
            return None

    def _has_room(self) -> bool:
        return bool(self._idle) or self._count < self.size

    def _wait(self, deadline: Deadline) -> None:
        """Wait for a session that is idle, or may be opened, behind those who have waited longer."""
        turn = threading.Condition(self._lock)
        self._queue.append(turn)
        try:
            while self._queue[0] is not turn or not self._has_room():
                left = deadline.remaining()
                if not left or not turn.wait(left):
                    raise OperationalError(
                        f"All {self.size} relay sessions of this process were in use for "
                        f"{deadline.seconds:g} seconds; raise pool_size or shorten the transactions",
                        effect="none",
                    )
        finally:
            self._queue.remove(turn)
            self._call_next()

    def _call_next(self) -> None:
        if self._queue:
            self._queue[0].notify()

    def _pick(self, mine: RelaySession | None) -> RelaySession:
        """Take out the thread's own session where it is idle, else the one used last."""
        if mine is not None and mine in self._idle:
            self._idle.remove(mine)
            return mine
        return self._idle.pop()

    def _open(self, deadline: Deadline) -> RelaySession:
        try:
            session = RelaySession(
                self.url, self._token, connect_timeout=self.connect_timeout, deadline=deadline
            )
        except BaseException:
            with self._lock:
                self._count -= 1
                self._call_next()
            raise
        session.holders, session.holder = 1, threading.current_thread()
        with self._lock:
            self._sessions.add(session)
        return session

    def _fit(self, session: RelaySession) -> bool:
        return session.usable and not session.exhausted

    def _forget(self, session: RelaySession) -> None:
        self._sessions.discard(session)
        self._count -= 1
