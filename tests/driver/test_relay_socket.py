"""The WebSocket of a relay session: what it reads, when it pings, and how it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports import relay_socket
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_socket import RelaySocket

from .proxy import Proxy


@contextmanager
def connected(handle: Callable[[ServerConnection], None]) -> Iterator[RelaySocket]:
    """Open a socket to a server that runs `handle` and then closes the connection."""
    with serve(handle, "127.0.0.1", 0, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        factory: Any = RelaySocket
        opening = connect(
            f"ws://127.0.0.1:{port}/",
            proxy=None,
            close_timeout=1,
            create_connection=factory,
            compression=None,
        )
        try:
            with opening as found:
                opened: Any = found
                yield opened
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds of silence after which a socket pings."""
    monkeypatch.setattr(relay_socket, "PATIENCE", 0.05)
    return 0.05


@pytest.fixture
def proxied(proxy: Proxy, local_worker: Any) -> Iterator[RelayTransport]:
    transport = RelayTransport(proxy.url, local_worker.token)
    yield transport
    transport.close()


def wait_for(met: Callable[[], object]) -> None:
    while not met():
        time.sleep(0.005)


def test_a_session_has_no_thread_of_its_own(proxied: RelayTransport, tenant_name: str) -> None:
    driver.connect(proxied, tenant_name).execute("SELECT 1")
    before = threading.active_count()
    with ThreadPoolExecutor(1) as other:
        held = driver.connect(proxied, tenant_name)
        held.begin()
        held.execute("SELECT 1")
        other.submit(driver.connect(proxied, tenant_name + "/2").execute, "SELECT 1").result()
        held.rollback()
    assert proxied.pool.counts() == (2, 2)
    # The proxy has two for each connection.
    assert threading.active_count() == before + 2


def test_messages_in_fragments_are_joined_with_a_fake_server() -> None:
    def handle(server: ServerConnection) -> None:
        server.send(["hä", "lf", "t"])
        server.send("second")

    with connected(handle) as socket:
        assert [socket.recv(60), socket.recv(60)] == ["hälft".encode(), b"second"]
        with pytest.raises(ConnectionClosed, match="received 1000"):
            socket.recv(60)


def test_the_servers_pings_are_answered_while_a_call_waits_with_a_fake_server() -> None:
    def handle(server: ServerConnection) -> None:
        answered = server.ping().wait(60)
        server.send(str(answered))

    with connected(handle) as socket:
        assert socket.recv(60) == b"True"


def test_a_call_that_waits_longer_than_the_patience_pings_and_gets_its_answer_with_a_fake_server(
    impatient: float,
) -> None:
    def handle(server: ServerConnection) -> None:
        time.sleep(6 * impatient)
        server.send("late")

    with connected(handle) as socket:
        assert socket.recv(60) == b"late"


def test_a_call_ends_once_a_ping_has_no_answer(
    proxied: RelayTransport, proxy: Proxy, tenant_name: str, impatient: float
) -> None:
    connection = driver.connect(proxied, tenant_name, timeout=60)
    connection.execute("SELECT 1")
    (session,) = proxied.pool._sessions
    proxy.stalled = True
    socket = session._socket
    socket.send(b'{"id": 7, "op": "batch", "db": "do:x", "steps": []}', 60)
    with pytest.raises(ConnectionClosed, match="no close frame") as caught:
        socket.recv(60)
    assert "no answer to a ping" in str(caught.value.__cause__)


def test_an_idle_session_is_pinged_and_stays_usable(
    proxied: RelayTransport, tenant_name: str, impatient: float
) -> None:
    driver.connect(proxied, tenant_name).execute("SELECT 1")
    (session,) = proxied.pool._idle
    for _ in range(3):
        time.sleep(impatient)
        proxied.pool.keep_alive()
        assert session._socket._is_pinged
        wait_for(lambda: session.catch_up() or not session._socket._is_pinged)
    assert session.usable


def test_an_idle_session_whose_pings_have_no_answer_is_replaced(
    proxied: RelayTransport, proxy: Proxy, tenant_name: str, impatient: float
) -> None:
    connection = driver.connect(proxied, tenant_name)
    connection.execute("SELECT 1")
    (session,) = proxied.pool._idle
    proxy.stalled = True
    for _ in range(2):
        time.sleep(impatient)
        proxied.pool.keep_alive()
    assert not session.usable
    proxy.release()
    assert connection.execute("SELECT 7").fetchone() == (7,)
    assert proxy.accepted == 2


def test_a_busy_session_is_not_pinged_by_the_keeper(
    proxied: RelayTransport, tenant_name: str, impatient: float
) -> None:
    connection = driver.connect(proxied, tenant_name)
    connection.begin()
    connection.execute("SELECT 1")
    (session,) = proxied.pool._sessions
    time.sleep(impatient)
    proxied.pool.keep_alive()
    assert not session._socket._is_pinged
    connection.rollback()


def test_a_pool_that_is_closed_ends_the_call_of_another_thread(
    proxied: RelayTransport, proxy: Proxy, tenant_name: str
) -> None:
    connection = driver.connect(proxied, tenant_name, timeout=60)
    connection.execute("SELECT 1")
    (session,) = proxied.pool._sessions
    proxy.stalled = True
    with ThreadPoolExecutor(1) as other:
        write = other.submit(session.request, {"op": "size", "db": tenant_name}, Deadline(60))
        wait_for(lambda: session.busy and session._socket._timeout)
        proxied.close()
        with pytest.raises(driver.OperationalError, match="lost before its answer came"):
            write.result(60)
    proxy.release()
    assert connection.execute("SELECT 7").fetchone() == (7,)


def test_a_signals_handler_may_close_the_pool_under_the_call_that_it_interrupts(
    proxied: RelayTransport, proxy: Proxy, tenant_name: str
) -> None:
    connection = driver.connect(proxied, tenant_name, timeout=60)
    connection.execute("SELECT 1")
    proxy.stalled = True
    before = signal.signal(signal.SIGALRM, lambda *_: (proxied.close(), proxy.release()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        # A read is repeated, on a session that is opened for it.
        assert connection.execute("SELECT 8").fetchone() == (8,)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert proxy.accepted == 2
