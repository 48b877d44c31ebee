"""The REST transport: what D1's API refuses, loses or delays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.sql import prepare
from do_bridge.driver.transport import Deadline, retry_after
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.version import __version__

from .conftest import D1
from .proxy import Proxy

READ = "SELECT 1"
WRITE = "CREATE TABLE IF NOT EXISTS rest_writes (v)"
Reply = tuple[int, dict[str, str], Any]


WITHOUT_HTTPX = """
import sys
from do_bridge import driver
import do_bridge.backends.d1.base
print("httpx" in sys.modules)
sys.modules["httpx"] = None
try:
    driver.rest("https://api.example", "a-secret-token")
except driver.InterfaceError as error:
    print(error)
"""


def test_without_httpx_only_the_rest_transport_fails_and_names_the_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_HTTPX], capture_output=True, text=True, check=True)
    imported, said = done.stdout.splitlines()
    assert imported == "False"
    assert '`pip install "do-bridge[rest]"`' in said
    assert "a-secret-token" not in done.stdout + done.stderr


class Faulty:
    """Answers like Cloudflare's API does when it will not serve, which the local API never does."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                status, headers, payload = outer.replies.pop(0)
                content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    """A server that gives the replies that it was told."""
    server = Faulty()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


@pytest.fixture
def api(faulty: Faulty) -> Iterator[driver.Connection]:
    """A connection to a database of an account of that server."""
    transport = RestTransport(faulty.url, "api-token", "account/1")
    yield driver.connect(transport, "d1:db", timeout=3)
    transport.close()


def ok(*rows: list[Any]) -> Reply:
    """Return a success as the API writes it."""
    result = {"success": True, "results": {"columns": ["a"], "rows": list(rows)}, "meta": {"changes": 0}}
    return 200, {}, {"success": True, "errors": [], "messages": [], "result": [result]}


def refusal(status: int, code: int, message: str, **headers: str) -> Reply:
    """Return a refusal as the API writes it."""
    errors = [{"code": code, "message": message}]
    return status, headers, {"success": False, "errors": errors, "messages": [], "result": None}


def test_the_account_is_in_the_path_and_the_token_in_the_header(
    api: driver.Connection, faulty: Faulty
) -> None:
    faulty.replies = [ok([1])]
    assert api.execute("SELECT %s", [1]).fetchone() == (1,)
    path, headers, body = faulty.requests[0]
    assert path == "/accounts/account%2F1/d1/database/db/raw"
    assert headers["Authorization"] == "Bearer api-token"
    assert headers["User-Agent"] == f"do-bridge/{__version__}"
    assert body == {"sql": "SELECT (?1->>0)", "params": ["[1]"]}


@pytest.mark.parametrize("sql", [READ, WRITE])
def test_too_many_requests_wait_as_long_as_the_api_says(
    api: driver.Connection, faulty: Faulty, sql: str
) -> None:
    faulty.replies = [refusal(429, 971, "slow down", **{"retry-after": "0.1"}), ok([1])]
    with driver.count_trips() as trips:
        assert api.execute(sql).fetchone() == (1,)
    assert trips.count == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_too_many_requests_do_not_wait_beyond_the_deadline(
    api: driver.Connection, faulty: Faulty, as_date: bool
) -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=61), usegmt=True) if as_date else "60"
    faulty.replies = [refusal(429, 971, "slow down", **{"retry-after": header}), ok([1])]
    with pytest.raises(driver.OperationalError, match="D1_TRANSPORT=relay") as caught:
        api.execute(READ)
    assert caught.value.http_status == 429
    assert caught.value.retry_after == pytest.approx(60, abs=2)
    assert api.execute(READ).fetchone() == (1,)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2), ("0", 0.1), ("-5", 0.1), ("nan", 0.1), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.1), ("soon", None)]
    + [("", None), ("Wed, 99 Oct 2015", None), (None, None)],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named_and_not_shown(api: driver.Connection, faulty: Faulty, status: int) -> None:
    faulty.replies = [refusal(status, 10000, "Authentication error", **{"cf-ray": "ray-1"})]
    with pytest.raises(driver.OperationalError, match="CLOUDFLARE_D1_TOKEN") as caught:
        api.execute(READ)
    assert (caught.value.http_status, caught.value.request_id) == (status, "ray-1")
    assert "api-token" not in str(caught.value) + repr(api.transport)


def test_a_sql_error_of_cloudflares_api_is_known_by_its_message(
    api: driver.Connection, faulty: Faulty
) -> None:
    message = "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    faulty.replies = [refusal(400, 7500, message)]
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed") as caught:
        api.execute("INSERT INTO t VALUES (1)")
    assert (caught.value.sqlite_code, caught.value.http_status) == ("SQLITE_CONSTRAINT_UNIQUE", 400)


def test_a_write_that_is_led_elsewhere_is_said_not_to_have_run(
    api: driver.Connection, faulty: Faulty
) -> None:
    faulty.replies = [(301, {"location": "https://elsewhere.example/"}, b"Moved")]
    with pytest.raises(driver.OperationalError, match=r"redirects \(HTTP 301\). Set D1_API_BASE") as caught:
        api.execute(WRITE)
    assert (caught.value.effect, len(faulty.requests)) == ("none", 1)


def test_a_passing_fault_is_tried_again_for_a_read_alone(api: driver.Connection, faulty: Faulty) -> None:
    fault = refusal(500, 7500, "Network connection lost.")
    faulty.replies = [fault, (502, {}, b"<html>bad gateway</html>"), ok([1])]
    assert api.execute(READ).fetchone() == (1,)
    faulty.replies = [refusal(400, 7500, "Network connection lost.")]
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown"):
        api.execute(WRITE)


def test_an_overloaded_database_is_not_asked_again_at_once(api: driver.Connection, faulty: Faulty) -> None:
    faulty.replies = [refusal(500, 7500, "D1 DB is overloaded. Too many requests queued.")]
    with pytest.raises(driver.OperationalError, match="before you try again") as caught:
        api.execute(READ)
    assert caught.value.kind == "overloaded"


def test_a_database_that_is_not_there_is_named_by_its_settings(
    api: driver.Connection, faulty: Faulty
) -> None:
    faulty.replies = [refusal(404, 7404, "The database db could not be found")]
    with pytest.raises(driver.OperationalError, match="CLOUDFLARE_DATABASE_ID"):
        api.execute(READ)


@pytest.mark.parametrize("payload", [{"success": True, "result": []}, {"success": True}])
def test_an_answer_of_another_form_is_an_interface_error(
    api: driver.Connection, faulty: Faulty, payload: dict[str, Any]
) -> None:
    faulty.replies = [(200, {}, payload)]
    with pytest.raises(driver.InterfaceError, match="form"):
        api.execute(READ)


def test_an_object_is_not_reached_over_rest(rest: RestTransport) -> None:
    with pytest.raises(driver.InterfaceError, match="D1 databases"):
        driver.connect(rest, "do:tenant/acme").execute(READ)


def test_an_api_that_is_not_there_is_said_to_be_unreachable(faulty: Faulty) -> None:
    transport = RestTransport("http://127.0.0.1:9", "token")
    with pytest.raises(driver.OperationalError, match="D1_API_BASE") as caught:
        driver.connect(transport, D1).execute(WRITE)
    assert caught.value.effect == "none"
    transport.close()


def test_tls_that_fails_is_told_with_its_reason(faulty: Faulty) -> None:
    transport = RestTransport(faulty.url.replace("http:", "https:"), "token", "account")
    with pytest.raises(driver.OperationalError, match="SSL: WRONG_VERSION_NUMBER") as caught:
        driver.connect(transport, D1, timeout=1).execute(WRITE)
    assert caught.value.effect == "none"
    transport.close()


@pytest.fixture
def cuttable(proxy: Proxy) -> Iterator[driver.Connection]:
    """A connection to the local API through the proxy, its socket already open."""
    transport = RestTransport(f"{proxy.url}/cdn-cgi/local/explorer/api", "token")
    connection = driver.connect(transport, D1, timeout=60)
    connection.execute(READ)
    yield connection
    transport.close()


def test_a_lost_answer_is_asked_for_again_for_a_read_alone(cuttable: driver.Connection, proxy: Proxy) -> None:
    proxy.lose_answers = 1
    assert cuttable.execute(READ).fetchone() == (1,)
    assert proxy.lost == 1
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown"):
        cuttable.execute(WRITE)
    assert proxy.lost == 2


def test_a_stalled_api_ends_at_the_deadline(cuttable: driver.Connection, proxy: Proxy) -> None:
    cuttable.timeout = 0.3
    proxy.stalled = True
    with pytest.raises(driver.OperationalError, match="did not answer within 0.3 seconds"):
        cuttable.execute(READ)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_gets_a_client_of_its_own(rest: RestTransport) -> None:
    connection = driver.connect(rest, D1)
    connection.execute(READ)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            rows = connection.execute("SELECT 2").fetchall()
            code = 0 if rows == [(2,)] and len(rest._clients) == 2 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert connection.execute("SELECT 3").fetchone() == (3,)


def test_two_threads_share_one_client(rest: RestTransport) -> None:
    seen: list[Any] = []

    def ask(number: int) -> None:
        connection = driver.connect(rest, D1)
        seen.extend(connection.execute("SELECT %s", [number]).fetchall()[0] for _ in range(5))

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(1,)] * 5 + [(2,)] * 5
    assert len(rest._clients) == 1


@pytest.mark.parametrize(
    "base", ["api.cloudflare.com/v4", "http://h:port/", "https://.example", "http://[::1"]
)
def test_a_base_that_is_no_url_is_named_by_its_setting(base: str) -> None:
    transport = RestTransport(base, "token", "account")
    with pytest.raises(driver.InterfaceError, match="D1_API_BASE") as caught:
        driver.connect(transport, D1).execute(WRITE)
    assert caught.value.effect == "none"
    assert "token" not in repr(transport)
    transport.close()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("D1 DB exceeded its CPU time limit and was reset.", driver.InternalError),
        ("D1 DB storage operation exceeded timeout which caused object to be reset.", driver.InternalError),
        ("Can't read from request stream because client disconnected.", driver.OperationalError),
    ],
)
def test_of_a_write_that_ended_with_its_database_nobody_knows_the_outcome(
    api: driver.Connection, faulty: Faulty, message: str, error: type[driver.Error]
) -> None:
    faulty.replies = [refusal(400, 7500, message)]
    with pytest.raises(error, match="outcome of the write is unknown") as caught:
        api.execute(WRITE)
    assert caught.value.effect == "unknown"


def test_of_a_text_of_several_statements_the_last_ones_rows_come(
    api: driver.Connection, faulty: Faulty
) -> None:
    (status, headers, payload), (_, _, last) = ok([1]), ok([2])
    payload["result"] += last["result"]
    faulty.replies = [(status, headers, payload)]
    assert api.execute("CREATE TABLE t (a); SELECT a FROM t").fetchall() == [(2,)]


def test_a_write_whose_answer_has_another_form_is_said_to_be_done(
    api: driver.Connection, faulty: Faulty
) -> None:
    faulty.replies = [(200, {}, {"success": True, "result": []})]
    with pytest.raises(driver.InterfaceError, match="form") as caught:
        api.execute(WRITE)
    assert caught.value.effect == "done"


def test_an_answer_that_cannot_be_read_leaves_a_writes_outcome_unknown(
    api: driver.Connection, faulty: Faulty
) -> None:
    faulty.replies = [(200, {"content-encoding": "gzip"}, b"not gzip")]
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown"):
        api.execute(WRITE)


def test_nothing_is_sent_once_the_time_is_over(api: driver.Connection, faulty: Faulty) -> None:
    with pytest.raises(driver.OperationalError, match="before the request was sent") as caught:
        api.transport.batch(api.database, [prepare(WRITE, None)], Deadline(0))
    assert (caught.value.effect, faulty.requests) == ("none", [])
