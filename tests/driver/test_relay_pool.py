"""The pool of relay sessions: who gets which, and interrupts, signals, finalizers and forks in its middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports import relay_pool, relay_session
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession

from .interrupts import interrupted

PUT = "INSERT INTO item (v) VALUES (%s)"
_FILES = ("transports/relay.py", "transports/relay_pool.py", "transports/relay_session.py")


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


@contextlib.contextmanager
def signalled(handle: Callable[..., None], due: Callable[[], object]) -> Iterator[None]:
    """Run `handle` in the main thread, in the middle of whatever the block does, as soon as it is `due()`."""

    def interrupt() -> None:
        while not due():
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        yield
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


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
    assert done.wait(60)


def test_a_signals_handler_does_not_wait_behind_the_call_that_it_interrupts(
    small: RelayTransport, tenant_name: str
) -> None:
    answers = []
    held = held_by_another_thread(small)
    connection, other = (driver.connect(small, tenant_name, timeout=8) for _ in range(2))

    def handle(*_: object) -> None:
        threading.Timer(0.1, small.pool.release, [held]).start()
        answers.append(other.execute("SELECT 7").fetchone())

    with signalled(handle, lambda: small.pool._queue):
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert answers == [(7,)]


def test_a_close_while_a_session_is_opened_makes_no_room_for_more_than_the_size(
    small: RelayTransport, monkeypatch: pytest.MonkeyPatch, tenant_name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        small.close()
        raise driver.OperationalError("refused")

    with monkeypatch.context() as patched, pytest.raises(driver.OperationalError, match="refused"):
        patched.setattr(relay_session, "RelaySession", fail)
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
            together.wait(60)
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
                thread.join(60)
            os._exit(0 if len(pools) == 2 and pools[0] is pools[1] and len(small.pool._idle) == 1 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_full_pool_is_waited_for_until_the_deadline(
    local_worker: Any, tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    small = RelayTransport(local_worker.url, local_worker.token, pool_size=1)
    holder = driver.connect(small, tenant.database)
    holder.begin()
    holder.execute(PUT, [1])
    caught: list[driver.Error] = []

    def want(timeout: float) -> None:
        try:
            driver.connect(small, f"{tenant.database}-b", timeout=timeout).execute("SELECT 1")
        except driver.Error as error:
            caught.append(error)

    thread = threading.Thread(target=want, args=(0.2,))
    thread.start()
    thread.join()
    assert "pool_size" in str(caught.pop())
    thread = threading.Thread(target=want, args=(10,))
    thread.start()
    holder.commit()
    thread.join()
    small.close()
    assert caught == []


def test_a_signals_handler_may_ask_while_its_threads_own_call_waits(
    relay: RelayTransport,
    tenant: driver.Connection,
    items: Callable[[], list[Any]],
    tenant_name: str,
    local_worker: Any,
) -> None:
    blocking = driver.connect(RelayTransport(local_worker.url, local_worker.token), tenant_name)
    blocking.begin()
    blocking.execute(PUT, [1])
    other = driver.connect(relay, f"{tenant_name}/other", timeout=3)
    answers = []

    def handle(*_: object) -> None:
        try:
            answers.append(other.execute("SELECT 7").fetchone())
        finally:
            blocking.rollback()

    with signalled(handle, lambda: any(session.busy for session in list(relay.pool._sessions))):
        assert tenant.execute("SELECT count(*) FROM item").fetchone() == (0,)
    blocking.transport.close()
    assert answers == [(7,)]


def test_of_those_that_wait_for_a_full_pool_the_first_is_served_first(
    local_worker: Any, tenant_name: str
) -> None:
    transport = RelayTransport(local_worker.url, local_worker.token, pool_size=1)
    together = threading.Barrier(4)
    served: list[int] = []

    def work(number: int) -> None:
        connection = driver.connect(transport, tenant_name)
        together.wait(60)
        for _ in range(100):
            connection.execute("SELECT 1")
            served.append(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    transport.close()
    # Else whoever gives a session back has it again before another thread has woken up.
    first_done = min(len(served) - 1 - served[::-1].index(number) for number in range(4))
    assert min(served[:first_done].count(number) for number in range(4)) > 50


def test_a_thread_does_not_join_the_session_that_it_gave_back_and_another_thread_holds(
    relay: RelayTransport, tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    holds, reads = threading.Event(), threading.Event()
    caught: list[driver.Error] = []

    def hold() -> None:
        holder = driver.connect(relay, tenant.database)
        holder.begin()
        try:
            holder.execute(PUT, [1])
            holds.set()
            # The reader's request has left as soon as it holds a session of its own.
            reads.wait(60)
            holder.execute(PUT, [2])
            holder.commit()
        except driver.Error as error:
            caught.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(60)
    acquire = relay.pool.acquire

    def noted(deadline: Any) -> Any:
        session = acquire(deadline)
        reads.set()
        return session

    relay.pool.acquire = noted  # type: ignore[method-assign]
    rows = tenant.execute("SELECT count(*) FROM item").fetchall()
    thread.join()
    assert caught == []
    assert rows == [(2,)]
    assert len(relay.pool._sessions) == 2


def test_threads_that_take_turns_keep_their_sessions(relay: RelayTransport, tenant_name: str) -> None:
    here, there = (driver.connect(relay, f"{tenant_name}-{name}") for name in "ab")

    def session(connection: driver.Connection) -> Any:
        connection.execute("SELECT 1")
        return relay.pool._local.session

    with ThreadPoolExecutor(1) as other:
        here.begin()
        mine = session(here)
        theirs = other.submit(session, there).result()
        here.rollback()
        assert mine is not theirs
        for _ in range(2):
            assert other.submit(session, there).result() is theirs
            assert session(here) is mine


def test_a_session_is_recycled_before_the_limit_of_the_server(
    relay: RelayTransport, tenant_name: str
) -> None:
    connection = driver.connect(relay, tenant_name)
    connection.execute("SELECT 1")
    (first,) = relay.pool._sessions
    first.limit = 3
    connection.begin()
    for _ in range(5):
        connection.execute("SELECT 1")
    assert set(relay.pool._sessions) == {first}
    connection.commit()
    connection.execute("SELECT 1")
    assert first not in relay.pool._sessions
    assert not first.usable
