"""The relay transport when connections are lost, stalled, refused, shared and forked."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports import frames, relay_pool
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.version import __version__

from .conftest import D1
from .proxy import Proxy

Items = Callable[[], list[Any]]


@pytest.fixture
def cuttable(proxied: RelayTransport, tenant: driver.Connection, items: Items) -> driver.Connection:
    """A connection to the object through the proxy, its session already open."""
    connection = driver.connect(proxied, tenant.database, timeout=60)
    connection.execute("SELECT 1")
    return connection


def put(connection: driver.Connection, value: Any) -> None:
    connection.execute("INSERT INTO item (v) VALUES (%s)", [value])


def wait_until_closed(transport: RelayTransport) -> None:
    """Wait until the client has seen that its idle sessions are gone."""
    for session in list(transport.pool._idle):
        while session.usable:
            time.sleep(0.001)
            session.catch_up()


def test_a_connection_lost_between_calls_is_replaced_for_writes_too(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    proxy.cut()
    wait_until_closed(cuttable.transport)  # type: ignore[arg-type]
    put(cuttable, 1)
    assert items() == [1]
    assert proxy.accepted == 2


def test_a_read_whose_answer_was_lost_is_asked_again(cuttable: driver.Connection, proxy: Proxy) -> None:
    proxy.lose_answers = 1
    with driver.count_trips() as trips:
        assert cuttable.execute("SELECT 5").fetchone() == (5,)
    assert (proxy.lost, trips.count) == (1, 2)


def test_a_stalled_connection_ends_at_the_deadline(cuttable: driver.Connection, proxy: Proxy) -> None:
    cuttable.timeout = 0.3
    proxy.stalled = True
    with pytest.raises(driver.OperationalError, match="did not answer within 0.3 seconds"):
        cuttable.execute("SELECT 1")
    with pytest.raises(driver.OperationalError, match="did not answer within"):
        cuttable.execute("SELECT 1")


def without_certificates(protocol: int) -> ssl.SSLContext:
    """Return one end of a TLS connection whose other end is made so, too."""
    context = ssl.SSLContext(protocol)
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


@pytest.fixture(params=["http", "https"])
def large(
    request: pytest.FixtureRequest, local_worker: Any, tenant: driver.Connection, monkeypatch: Any
) -> Iterator[tuple[driver.Connection, Proxy]]:
    """A connection, its session open, that may send more than the system's buffers hold, and its proxy."""
    client, server = map(without_certificates, (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    monkeypatch.setattr(ssl, "create_default_context", lambda: client)
    tls = server if request.param == "https" else None
    with Proxy(local_worker.port, tls) as proxy:
        transport = RelayTransport(proxy.url, local_worker.token)
        connection = driver.connect(transport, tenant.database, timeout=60)
        connection.execute("SELECT 1")
        transport.pool._idle[-1].max_message = 64 * 2**20
        yield connection, proxy
        proxy.release()
        transport.close()


def test_a_session_with_and_without_tls_reads_is_pinged_and_replaced(
    large: tuple[driver.Connection, Proxy],
) -> None:
    connection, proxy = large
    pool = connection.transport.pool  # type: ignore[attr-defined]
    for number in range(5):
        assert connection.execute("SELECT %s", [number]).fetchone() == (number,)
        pool._idle[-1]._socket._ping()
        pool.keep_alive()
    # Longer than a read of the socket, and than a record of TLS.
    assert connection.execute("SELECT hex(zeroblob(500000))").fetchone() == ("00" * 500_000,)
    proxy.cut()
    wait_until_closed(connection.transport)  # type: ignore[arg-type]
    assert connection.execute("SELECT 6").fetchone() == (6,)
    assert proxy.accepted == 2


def read_sixteen_megabytes(connection: driver.Connection) -> None:
    connection.execute("SELECT " + ", ".join(["length(%s)"] * 8), ["x" * 2_000_000] * 8)


def test_a_peer_that_reads_nothing_ends_at_the_deadline(large: tuple[driver.Connection, Proxy]) -> None:
    connection, proxy = large
    # Enough for writing the request on a busy machine.
    connection.timeout = 2
    proxy.deaf = True
    session = connection.transport.pool._idle[-1]  # type: ignore[attr-defined]
    # Whoever waits for ever is let go, and fails by another message.
    rescue = threading.Timer(15, proxy.cut)
    rescue.start()
    with pytest.raises(driver.OperationalError, match="did not answer within 2 seconds"):
        read_sixteen_megabytes(connection)
    rescue.cancel()
    assert not session.usable


def test_a_process_that_can_start_no_thread_calls_and_is_told_that_a_large_request_did_not_run(
    tenant: driver.Connection, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant.transport.close()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        put(tenant, 1)
        with pytest.raises(
            driver.OperationalError, match="was not sent, because no thread.*can't start new"
        ) as caught:
            put(tenant, "x" * 20_000)
    assert caught.value.effect == "none"
    put(tenant, 2)
    assert items() == [1, 2]


def test_a_transaction_dies_with_its_session_and_says_so(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    proxy.cut()
    with pytest.raises(driver.OperationalError, match="rolled back") as caught:
        put(cuttable, 2)
    assert caught.value.effect == "ended"
    with pytest.raises(driver.OperationalError, match="Roll back before you go on"):
        cuttable.execute("SELECT 1")
    cuttable.rollback()
    put(cuttable, 3)
    assert items() == [3]


def test_a_rollback_after_the_session_was_lost_is_silent(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    proxy.cut()
    cuttable.rollback()
    assert items() == []


def test_the_begin_of_a_transaction_is_repeated_because_nothing_was_committed(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.begin()
    proxy.lose_answers = 1
    put(cuttable, 1)
    cuttable.commit()
    assert items() == [1]


def test_a_call_that_is_interrupted_does_not_leave_its_answer_to_the_next(
    cuttable: driver.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = cuttable.transport.pool._idle[-1]  # type: ignore[attr-defined]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match="^$"):
        patched.setattr(session._socket, "recv", interrupt)
        cuttable.execute("SELECT 'first'")
    assert not session.usable
    assert cuttable.execute("SELECT 'second'").fetchone() == ("second",)


def test_a_transaction_whose_begin_is_interrupted_holds_nobody_up(
    cuttable: driver.Connection, tenant: driver.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(result: object) -> None:
        raise KeyboardInterrupt

    cuttable.begin()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match="^$"):
        # After the answer has come, so that the connection is not cut.
        patched.setattr(frames, "_answer", interrupt)
        put(cuttable, 1)
    tenant.timeout = 5  # below the lease
    put(tenant, 2)
    put(cuttable, 3)
    cuttable.commit()
    assert tenant.execute("SELECT v FROM item ORDER BY v").fetchall() == [(2,), (3,)]


@pytest.mark.parametrize("step", ["_write", "_take", "_process"])
def test_a_call_that_is_interrupted_inside_the_socket_ends_at_once(
    cuttable: driver.Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    socket = cuttable.transport.pool._idle[-1]._socket  # type: ignore[attr-defined]

    def interrupt(*_: object, **__: object) -> None:
        # As an exception inside it does.
        socket._protocol.parser.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(socket, step, interrupt)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        cuttable.execute("SELECT 'first'")
    assert cuttable.execute("SELECT 'second'").fetchone() == ("second",)
    assert socket.socket.fileno() == -1


def test_a_wrong_token_is_named_and_not_shown(local_worker: Any) -> None:
    transport = RelayTransport(local_worker.url, "not-the-token")
    with pytest.raises(driver.OperationalError, match="RELAY_TOKEN") as caught:
        driver.connect(transport, "do:a").execute("SELECT 1")
    assert caught.value.http_status == 401
    assert "not-the-token" not in str(caught.value) + repr(transport)


@pytest.mark.parametrize("token", ["", "a\r\nX-Other: b", "ä"])
def test_a_token_that_no_header_can_carry_is_refused(local_worker: Any, token: str) -> None:
    with pytest.raises(driver.OperationalError, match="^RELAY_TOKEN is empty, or has"):
        driver.connect(RelayTransport(local_worker.url, token), "do:a").execute("SELECT 1")


def test_a_relay_that_is_not_there_is_said_to_be_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    transport = RelayTransport(f"http://user:secret@127.0.0.1:{port}", "token")
    with pytest.raises(driver.OperationalError, match="Check RELAY_URL") as caught:
        driver.connect(transport, "do:a").execute("SELECT 1")
    assert "secret" not in str(caught.value) + repr(transport)


def test_a_path_without_a_relay_is_said_to_be_wrong(local_worker: Any) -> None:
    transport = RelayTransport(local_worker.url + "/elsewhere", local_worker.token)
    with pytest.raises(driver.OperationalError, match="[Nn]o relay"):
        driver.connect(transport, "do:a").execute("SELECT 1")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("301 Moved\r\nlocation: https://relay.example/v1/session", "redirects .HTTP 301."),
        ("302 Found\r\nlocation: https://login.example/", "redirects .HTTP 302."),
        ("503 Unavailable", "answered with HTTP 503"),
    ],
)
def test_what_answers_in_place_of_the_relay_is_told_by_its_status(reply: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65536)
                        client.sendall(f"HTTP/1.1 {reply}\r\ncontent-length: 4\r\n\r\n1102".encode())

        threading.Thread(target=answer, daemon=True).start()
        transport = RelayTransport(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")
        with pytest.raises(driver.OperationalError, match=told) as caught:
            driver.connect(transport, "do:a", timeout=1).execute("SELECT 1")
        listener.shutdown(socket.SHUT_RDWR)
    # What the edge answers for a moment may pass; the relay's own 503 does not.
    assert caught.value.transient == reply.startswith("503")
    assert "secret" not in str(caught.value)


def test_a_worker_without_its_secret_is_said_to_be_not_ready(own_worker: Callable[..., Any]) -> None:
    worker = own_worker(token="short")
    worker.spawn()
    connection = driver.connect(RelayTransport(worker.url, "short"), "do:a")
    told = driver.Error(transient=True)
    while told.transient:  # It does not listen yet.
        with pytest.raises(
            driver.OperationalError, match="RELAY_TOKEN|could not be reached|Worker"
        ) as caught:
            connection.execute("SELECT 1")
        told = caught.value
    assert "its secret RELAY_TOKEN is missing or shorter than 32" in str(told)


@pytest.mark.parametrize("url", ["http://h:port", "http://[::1", "https://.example", f"http://{'h' * 64}"])
def test_an_address_that_is_no_url_is_named_by_its_setting(url: str) -> None:
    transport = RelayTransport(url, "token")
    with pytest.raises(driver.InterfaceError, match="RELAY_URL is not a valid address") as caught:
        driver.connect(transport, "do:a").execute("SELECT 1")
    assert caught.value.effect == "none"
    assert "token" not in repr(transport)


def test_a_session_names_the_package_and_its_version_as_its_user_agent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = RelayTransport(f"ws://127.0.0.1:{server.getsockname()[1]}", "token", connect_timeout=60)
        connection = driver.connect(transport, "do:a", timeout=60)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(connection.execute, "SELECT 1")
            client, _ = server.accept()
            with client:
                handshake = client.recv(65536).decode()
                client.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            with pytest.raises(driver.OperationalError, match="No relay was found"):
                asked.result()
    assert f"User-Agent: do-bridge/{__version__}\r\n" in handshake


def test_a_server_that_never_answers_the_handshake_ends_at_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = RelayTransport(f"ws://127.0.0.1:{server.getsockname()[1]}", "token", connect_timeout=0.2)
        with pytest.raises(driver.OperationalError, match="did not answer within"):
            driver.connect(transport, "do:a", timeout=0.5).execute("SELECT 1")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_gets_sessions_of_its_own_and_leaves_the_parents_alone(
    tenant: driver.Connection, items: Items
) -> None:
    tenant.begin()
    put(tenant, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                tenant.execute("SELECT 1")
            except driver.OperationalError as error:
                code = 2 if error.effect == "ended" else 3
            tenant.rollback()
            with driver.connect(tenant.transport, f"{tenant.database}-child") as own:
                own.execute("CREATE TABLE seen (v)")
            tenant.close()
            code = 0 if code == 2 and relay_pool._inherited else 4
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    put(tenant, 2)
    tenant.commit()
    assert items() == [1, 2]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_client_that_is_killed_in_a_transaction_leaves_nothing(
    tenant: driver.Connection, items: Items
) -> None:
    child = os.fork()
    if child == 0:
        try:
            connection = driver.connect(tenant.transport, tenant.database, lease=25)
            connection.begin()
            put(connection, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    tenant.timeout = 10
    put(tenant, 2)
    assert items() == [2]


def test_a_relay_that_was_restarted_is_found_again(own_worker: Callable[..., Any]) -> None:
    worker = own_worker().start()
    transport = RelayTransport(worker.url, worker.token)
    connection = driver.connect(transport, "do:test/restart")
    connection.execute("CREATE TABLE item (v)")
    connection.begin()
    put(connection, 1)
    worker.stop()
    with pytest.raises(driver.OperationalError, match="rolled back"):
        put(connection, 2)
    connection.rollback()
    with pytest.raises(driver.OperationalError, match="could not be reached") as caught:
        put(connection, 3)
    assert caught.value.effect == "none"
    worker.start()
    put(connection, 4)
    assert connection.execute("SELECT v FROM item").fetchall() == [(4,)]
    transport.close()


def test_one_relay_and_token_have_one_transport_a_process(local_worker: Any) -> None:
    token = "of-this-test-alone"  # the worker's own has a pool already where Django has used it
    first = driver.relay(local_worker.url, token, pool_size=2)
    assert driver.relay(local_worker.url, token, pool_size=3) is first
    assert first.pool.size == 3
    assert token not in repr(first) + repr(vars(first))


def test_a_request_above_the_relays_size_is_a_data_error(tenant: driver.Connection) -> None:
    tenant.execute("SELECT 1")
    (session,) = tenant.transport.pool._sessions  # type: ignore[attr-defined]
    session.max_message = 1000
    with pytest.raises(driver.DataError, match="the relay accepts 1000") as caught:
        tenant.execute("SELECT %s", ["x" * 2000])
    assert caught.value.effect == "none"


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_no_proxy_stands_before_a_worker_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, local_worker: Any, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    relay = RelayTransport(local_worker.url, local_worker.token)
    for transport in (relay, RestTransport(local_worker.api_base, local_worker.token)):
        with driver.connect(transport, D1, timeout=60) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        transport.close()
