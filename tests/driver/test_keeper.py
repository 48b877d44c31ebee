"""Sessions that are opened before a call needs them: when, how many, and what becomes of the thread."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports import keeper
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession


def wait_for(met: Callable[[], object]) -> None:
    """Wait until something is true, however slow the machine is; the test's time limit ends it."""
    while not met():
        time.sleep(0.005)


@pytest.fixture
def warmed(proxy: Any, local_worker: Any) -> Iterator[RelayTransport]:
    """A transport with room for three sessions, behind the proxy."""
    transport = RelayTransport(proxy.url, local_worker.token, pool_size=3)
    yield transport
    kept = transport.pool._keeper
    transport.close()
    assert kept is None or has_ended(kept)


def has_ended(kept: keeper.Keeper | None) -> bool:
    assert kept is not None
    kept.thread.join(60)
    return not kept.thread.is_alive()


def is_lost(session: RelaySession) -> bool:
    session.catch_up()
    return not session.usable


def idle(transport: RelayTransport) -> int:
    return len(transport.pool._idle)


def test_a_session_is_open_before_the_first_call_which_opens_none(
    warmed: RelayTransport, proxy: Any, tenant_name: str
) -> None:
    warmed.pool.keep_spares(1)
    wait_for(lambda: idle(warmed) == 1)
    ready = warmed.pool._idle[0]
    assert driver.connect(warmed, tenant_name).execute("SELECT 7").fetchone() == (7,)
    assert ready in warmed.pool._idle


def test_another_is_opened_beside_those_in_use_up_to_the_pools_size(warmed: RelayTransport) -> None:
    warmed.pool.keep_spares(1)
    held = []
    for _ in range(3):
        wait_for(lambda: idle(warmed) == 1)
        with ThreadPoolExecutor(1) as other:
            held.append(other.submit(warmed.pool.acquire, Deadline(10)).result())
    assert len(set(map(id, held))) == 3
    assert not warmed.pool.add_spare()
    for session in held:
        warmed.pool.release(session)


def test_a_successor_is_opened_before_a_session_runs_out(warmed: RelayTransport, tenant_name: str) -> None:
    warmed.pool.keep_spares(1)
    wait_for(lambda: idle(warmed) == 1)
    first = warmed.pool._idle[0]
    first.limit = 20
    connection = driver.connect(warmed, tenant_name)
    for _ in range(18):
        connection.execute("SELECT 1")
    wait_for(lambda: idle(warmed) == 2)
    assert not first.exhausted
    second = next(session for session in warmed.pool._idle if session is not first)
    for _ in range(3):
        connection.execute("SELECT 1")
    assert first not in warmed.pool._sessions
    assert second in warmed.pool._sessions


def test_an_idle_session_that_was_lost_is_replaced(warmed: RelayTransport, proxy: Any) -> None:
    warmed.pool.keep_spares(1)
    wait_for(lambda: idle(warmed) == 1)
    lost = warmed.pool._idle[0]
    proxy.cut()
    wait_for(lambda: is_lost(lost))
    warmed.pool.keep_spares(1)
    wait_for(lambda: lost not in warmed.pool._idle and idle(warmed) == 1)


def test_a_relay_that_does_not_answer_harms_nothing_and_is_tried_again(
    warmed: RelayTransport, proxy: Any, tenant_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_FIRST_WAIT", 0.01)
    failures = []
    open_session = RelaySession._open

    def noted(self: Any, *arguments: Any) -> Any:
        try:
            return open_session(self, *arguments)
        except driver.Error as error:
            failures.append(error)
            raise

    monkeypatch.setattr(RelaySession, "_open", noted)
    proxy.refusing = True
    warmed.pool.keep_spares(1)
    wait_for(lambda: len(failures) >= 2)
    with pytest.raises(driver.OperationalError, match="could not be reached|did not answer"):
        driver.connect(warmed, tenant_name, timeout=0.1).execute("SELECT 1")
    proxy.refusing = False
    wait_for(lambda: idle(warmed) == 1)


def test_calls_do_not_hurry_the_next_try_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    class Failing:
        _keeper = None

        def keep_alive(self) -> None:
            """Nothing is idle."""

        def add_spare(self) -> bool:
            tries.append(1)
            raise driver.OperationalError("refused")

    monkeypatch.setattr(keeper, "_FIRST_WAIT", 1000.0)
    pool: Any = Failing()
    kept = keeper.Keeper(pool, 1)
    wait_for(lambda: tries)
    for _ in range(20):
        kept.wake()
        time.sleep(0.001)
    kept.stop()
    assert has_ended(kept)
    assert len(tries) == 1


def test_the_thread_ends_with_the_pool_and_when_the_pool_is_closed(warmed: RelayTransport) -> None:
    warmed.pool.keep_spares(1)
    wait_for(lambda: idle(warmed) == 1)
    kept = warmed.pool._keeper
    warmed.close()
    assert has_ended(kept)
    assert idle(warmed) == 0
    assert not warmed.pool.add_spare()


def test_a_pool_that_nobody_has_any_more_ends_its_thread(
    proxy: Any, local_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_LOOKS", 0.01)
    transport = RelayTransport(proxy.url, local_worker.token)
    transport.pool.keep_spares(1)
    while not transport.pool._idle:
        time.sleep(0.005)
    kept = transport.pool._keeper
    del transport
    gc.collect()
    assert has_ended(kept)


def test_none_is_kept_if_none_is_wanted(warmed: RelayTransport) -> None:
    warmed.pool.keep_spares(0)
    assert warmed.pool._keeper is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_no_spares_until_it_wants_its_own(
    warmed: RelayTransport, tenant_name: str
) -> None:
    warmed.pool.keep_spares(1)
    wait_for(lambda: idle(warmed) == 1)
    child = os.fork()
    if child == 0:
        try:
            empty = not idle(warmed) and warmed.pool._keeper is None and not warmed.pool.add_spare()
            warmed.pool.keep_spares(1)
            wait_for(lambda: idle(warmed) == 1)
            found = driver.connect(warmed, tenant_name).execute("SELECT 7").fetchone()
            os._exit(0 if empty and found == (7,) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert driver.connect(warmed, tenant_name).execute("SELECT 8").fetchone() == (8,)
