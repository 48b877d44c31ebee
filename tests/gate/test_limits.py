"""What the runtime limits, refuses, delays or throws away: a clear error each, and the next request works."""

from __future__ import annotations

import http.server
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

D1 = "d1:d0b41d9e-0000-4000-8000-000000000007"
# Some seconds of one statement: nothing ends it, and nothing else runs in its object meanwhile.
LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 4000000) SELECT count(*) FROM n"
LARGE = LONG.replace("4000000", "40").replace("count(*)", "hex(zeroblob(500000))")


@pytest.fixture
def relay(local_worker: Any) -> Iterator[RelayTransport]:
    """A relay transport with a pool of its own."""
    transport = RelayTransport(local_worker.url, local_worker.token)
    yield transport
    transport.close()


@pytest.fixture(params=["object", "d1"])
def connection(request: pytest.FixtureRequest, relay: RelayTransport) -> Iterator[driver.Connection]:
    """A connection to each kind of database, with an empty table ``item (id, v)``."""
    name = f"do:test/gate/{uuid.uuid4().hex}" if request.param == "object" else D1
    with driver.connect(relay, name) as made:
        made.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
        yield made
        made.execute("DROP TABLE item")


def ids(connection: driver.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT id FROM item ORDER BY id").fetchall()]


@pytest.mark.parametrize(
    ("sql", "params", "error", "told"),
    [
        ("INSERT INTO item VALUES (1, %s)", ["x" * 2_000_001], driver.DataError, "2,000,001 bytes"),
        ("INSERT INTO item VALUES (1, %s)", ["é" * 1_000_001], driver.DataError, "2,000,002 bytes"),
        ("INSERT INTO item VALUES (1, %s)", [b"x" * 2_000_001], driver.DataError, "2,000,001 bytes"),
        (
            "SELECT 1" + " OR %s" * 600,
            ["y" * 4000] * 600,
            driver.DataError,
            "small values of a statement",
        ),
        ("SELECT 1 /*" + "x" * 100_001 + "*/", None, driver.DataError, "100,000 bytes of SQL"),
        ("SELECT 1" + " OR 1 = id" * 110 + " FROM item", None, driver.OperationalError, "100 levels"),
        ("SELECT ?101", None, driver.OperationalError, "no such limit"),
        ("SELECT " + ", ".join(["1"] * 101), None, driver.OperationalError, "too many columns"),
        (LARGE, None, driver.DataError, "30000000 bytes"),
    ],
    ids=["text", "characters", "blob", "parameters", "sql", "depth", "variable", "columns", "result"],
)
def test_what_is_too_large_is_named_and_the_next_request_works(
    connection: driver.Connection, sql: str, params: list[Any] | None, error: type[driver.Error], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        connection.execute(sql, params)
    assert len(str(caught.value)) < 400
    connection.execute("INSERT INTO item VALUES (2, %s)", ["x" * 2_000_000])
    assert ids(connection) == [2]


@pytest.mark.parametrize(
    "deed",
    [
        "INSERT OR ROLLBACK INTO item VALUES (1, 'again')",
        "INSERT INTO late VALUES (77)",
    ],
)
def test_a_statement_that_resets_its_database_is_an_error_and_what_was_confirmed_stays(
    connection: driver.Connection, deed: str
) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS late (id REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    connection.execute("INSERT INTO item VALUES (1, 'confirmed')")
    # An object can be asked what became of the write; D1 says nothing but "internal error".
    kind, told = (
        driver.OperationalError,
        "reset while it worked: .* The write was not carried out",
    )
    if not connection.supports_transactions:
        kind, told = (driver.InternalError, "outcome of the write is unknown")
    with pytest.raises(kind, match=told):
        connection.execute_batch([("INSERT INTO item VALUES (2, 'with it')", None), (deed, None)])
    assert ids(connection) == [1]
    connection.execute("INSERT INTO item VALUES (3, 'after')")
    assert ids(connection) == [1, 3]
    connection.execute("DROP TABLE late")


def test_a_transaction_that_is_thrown_away_is_over_and_the_next_one_works(relay: RelayTransport) -> None:
    connection = driver.connect(relay, f"do:test/gate/{uuid.uuid4().hex}")
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
    connection.begin()
    connection.execute("INSERT INTO item VALUES (1, 'a')")
    with pytest.raises(driver.OperationalError, match="The database was reset") as caught:
        connection.execute("INSERT OR ROLLBACK INTO item VALUES (1, 'b')")
    assert caught.value.effect == "ended"
    with pytest.raises(driver.OperationalError, match="Roll back before you go on"):
        connection.execute("INSERT INTO item VALUES (2, 'c')")
    connection.rollback()
    connection.begin()
    connection.execute("INSERT INTO item VALUES (3, 'd')")
    connection.commit()
    assert ids(connection) == [3]


@pytest.mark.parametrize("lease", [0, 0.09, 25.1, 30, float("nan"), float("inf")])
def test_a_lease_that_the_runtime_would_not_keep_is_refused_before_anything_is_sent(
    relay: RelayTransport, lease: float
) -> None:
    with driver.count_trips() as trips, pytest.raises(driver.InterfaceError, match=r"0\.1 and 25 seconds"):
        driver.connect(relay, "do:test/gate/lease", lease=lease)
    assert trips.count == 0


def test_a_long_statement_is_given_up_at_the_deadline_and_its_database_serves_again(
    own_worker: Callable[..., Any],
) -> None:
    worker = own_worker().start()
    transport = RelayTransport(worker.url, worker.token)
    for name in ("do:test/gate/long", D1):
        connection = driver.connect(transport, name, timeout=30)
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
        connection.timeout = 0.3
        with pytest.raises(driver.OperationalError, match="did not answer within 0.3 seconds"):
            connection.execute(LONG)
        # What waits for its turn is not lost: it runs when the statement has ended.
        connection.timeout = 30
        connection.execute("INSERT INTO item VALUES (1, 'after')")
        assert ids(connection) == [1]
    transport.close()


def test_a_transaction_outlives_the_limit_of_its_session_and_the_next_one_gets_another(
    worker_copy: Callable[..., Any],
) -> None:
    worker = worker_copy({"SESSION_SUBREQUESTS": 5}).start()
    transport = RelayTransport(worker.url, worker.token)
    connection = driver.connect(transport, "do:test/gate/spent")
    connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
    for start in (0, 100):
        connection.begin()
        for number in range(start, start + 20):
            connection.execute("INSERT INTO item VALUES (%s, 'a')", [number])
        connection.commit()
    assert ids(connection) == [*range(20), *range(100, 120)]
    assert len(transport.pool._sessions) == 1
    transport.close()


@pytest.mark.parametrize(("wait", "passes"), [("0", True), ("60", False)])
def test_a_relay_that_takes_no_more_connections_is_asked_again_when_it_says_so(
    local_worker: Any, wait: str, passes: bool
) -> None:
    asked: list[float] = []

    class Busy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(time.monotonic())
            self.send_response(429 if len(asked) < 3 else 401)
            self.send_header("retry-after", wait)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        transport = RelayTransport(f"http://127.0.0.1:{server.server_port}", "t" * 40)
        with pytest.raises(driver.OperationalError, match="HTTP 4..") as caught:
            driver.connect(transport, "do:a", timeout=60).execute("SELECT 1")
        server.shutdown()
        thread.join()
    assert (len(asked), caught.value.http_status) == ((3, 401) if passes else (1, 429))
    assert passes or caught.value.retry_after == 60
