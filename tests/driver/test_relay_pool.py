"""The pool of relay sessions under interrupts, signals, finalizers and forks: it loses no room, no waiter."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver import relay_pool
from do_bridge.driver.relay import RelayTransport
from do_bridge.driver.relay_session import RelaySession
from do_bridge.driver.transport import Deadline

from .interrupts import interrupted

_FILES = ("relay.py", "relay_pool.py", "relay_session.py")


@pytest.fixture
def small(local_worker: Any) -> Iterator[RelayTransport]:
    """A transport with room for one session."""
    transport = RelayTransport(local_worker.url, local_worker.token, pool_size=1)
    yield transport
    transport.close()


def held_by_another_thread(transport: RelayTransport) -> RelaySession:
    """Return a session that this thread does not share."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(transport.pool.acquire, Deadline(10)).result()


# What interrupts a finalizer the interpreter reports, and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", ["open", "ask", "transaction"])
def test_an_interrupt_before_any_line_leaves_the_pool_its_room(
    small: RelayTransport, tenant_name: str, work: str
) -> None:
    connection = driver.connect(small, tenant_name, timeout=3)

    def call() -> None:
        if work == "open":
            small.close()
        if work == "transaction":
            connection.begin()
        connection.execute("SELECT 1")
        connection.commit()

    call()
    line = 1
    while interrupted(call, line, _FILES):
        connection.rollback()
        assert connection.execute("SELECT 2").fetchone() == (2,), f"after an interrupt before line {line}"
        line += 1
    assert line > 20
    assert len(small.pool._places) == len(small.pool._sessions) == 1


def test_a_session_that_a_finalizer_gives_back_is_taken_by_who_was_about_to_wait(
    small: RelayTransport, tenant_name: str
) -> None:
    forgotten = [small.transaction(tenant_name, 10)]
    forgotten[0]._session = small.pool.acquire(Deadline(5))  # type: ignore[attr-defined]

    class Forgetful(Deadline):
        def remaining(self) -> float:
            # As the garbage collector may between the look for a free session and the wait for one.
            forgotten.clear()
            return super().remaining()

    done = threading.Event()

    def ask() -> None:
        small.pool.release(small.pool.acquire(Forgetful(10)))
        done.set()

    threading.Thread(target=ask).start()
    assert done.wait(5)


def test_a_signals_handler_does_not_wait_behind_the_call_that_it_interrupts(
    small: RelayTransport, tenant_name: str
) -> None:
    answers = []
    held = held_by_another_thread(small)
    connection, other = (driver.connect(small, tenant_name, timeout=8) for _ in range(2))

    def handle(*_: object) -> None:
        threading.Timer(0.1, small.pool.release, [held]).start()
        answers.append(other.execute("SELECT 7").fetchone())

    def interrupt() -> None:
        while not small.pool._queue:
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answers == [(7,)]


def test_a_close_while_a_session_is_opened_makes_no_room_for_more_than_the_size(
    small: RelayTransport, monkeypatch: pytest.MonkeyPatch, tenant_name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        small.close()
        raise driver.OperationalError("refused")

    with monkeypatch.context() as patched, pytest.raises(driver.OperationalError, match="refused"):
        patched.setattr(relay_pool, "RelaySession", fail)
        small.pool.acquire(Deadline(5))
    held = held_by_another_thread(small)
    with pytest.raises(driver.OperationalError, match="pool_size"):
        small.pool.acquire(Deadline(0.1))
    small.pool.release(held)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_threads_of_a_forked_child_share_its_pool_from_the_first_moment(
    small: RelayTransport, tenant_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.connect(small, tenant_name).execute("SELECT 1")
    start = relay_pool.RelayPool._start
    together = threading.Barrier(2)

    def start_together(self: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            together.wait(5)
        start(self)

    monkeypatch.setattr(relay_pool.RelayPool, "_start", start_together)
    child = os.fork()
    if child == 0:
        try:
            pools = []

            def ask() -> None:
                driver.connect(small, tenant_name, timeout=5).execute("SELECT 1")
                pools.append(small.pool._idle)

            threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            os._exit(0 if len(pools) == 2 and pools[0] is pools[1] and len(small.pool._idle) == 1 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
