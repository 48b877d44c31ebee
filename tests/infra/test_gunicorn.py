"""gunicorn with the project's configuration: how it stops, and what it says where something is missing."""

import html
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from gunicorn.workers.gthread import ThreadWorker

from do_bridge import driver
from tests.conftest import DATABASE_ID
from tests.driver.proxy import Proxy
from worker.local import free_port

ROOT = Path(__file__).resolve().parents[2]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# An application of the test's own: the site has no page that takes long inside a transaction.
SLOW_SITE = """
import os, time
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path

options = {"timeout": 30, "lease": 25}
connections.settings["main"] = {
    **connections.settings["tenant"], "NAME": os.environ["OBJECT"], "OPTIONS": options
}

def slow(request):
    with transaction.atomic(using="main"), connections["main"].cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id integer primary key)")
        cursor.execute("INSERT INTO kept VALUES (1)")
        with open(os.environ["ENTERED"], "x") as entered:
            entered.write(str(os.getpid()))
        deadline = time.monotonic() + 20
        while not os.path.exists(os.environ["GO_ON"]) and time.monotonic() < deadline:
            time.sleep(0.02)
        cursor.execute("INSERT INTO kept VALUES (2)")
    return HttpResponse("done")

urlpatterns = [path("slow", slow)]

from django.conf import settings
settings.ROOT_URLCONF = "slow_site"
settings.MIDDLEWARE = ["project.health.HealthMiddleware"]  # its sessions are to say goodbye, too
application = get_wsgi_application()
"""


class Recorder(Proxy):
    """A proxy that keeps the last bytes which the clients sent."""

    def __init__(self, target):
        super().__init__(target)
        self.last = {}

    def _pump(self, source, sink, answers):
        if answers:
            super()._pump(source, sink, answers)
            return
        recorder = self

        class Heard:
            def recv(self, size):
                data = source.recv(size)
                if data:
                    recorder.last[source] = data
                return data

            def shutdown(self, how):
                source.shutdown(how)

            def close(self):
                source.close()

        super()._pump(Heard(), sink, answers)

    def farewells(self):
        """How many of the connections ended with a WebSocket close frame, masked as a client's are."""
        return sum(len(data) >= 8 and data[-8] == 0x88 and data[-7] == 0x82 for data in self.last.values())


@pytest.fixture
def gunicorn():
    """Starts gunicorn on a free port with the project's own configuration; ends it after the test."""
    started = []

    def start(*options, wait=True, **environment):
        port = free_port()
        log = subprocess.PIPE
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *options]
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stderr=log, stdout=log, text=True
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        if wait:
            wait_until(lambda: process.poll() is not None or status_of(f"{url}/healthz/live") == 200)
            assert process.poll() is None, process.communicate()[1]
        return process, url

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status_of(url):
    return get(url)[0]


def get(url, timeout=20):
    """Return (status, text); (None, "") where nobody listens, or answers within `timeout` seconds."""
    try:
        with OPENER.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def test_sigterm_lets_a_transaction_finish_and_refuses_what_comes_later(gunicorn, local_worker, tmp_path):
    (tmp_path / "slow_site.py").write_text(SLOW_SITE)
    entered, go_on = tmp_path / "entered", tmp_path / "go-on"
    name = f"test/gunicorn/{os.urandom(6).hex()}"
    with Recorder(local_worker.port) as proxy:
        process, url = gunicorn(
            *("--pythonpath", str(tmp_path), "--workers", "4", "slow_site:application"),
            ENTERED=str(entered),
            GO_ON=str(go_on),
            OBJECT=name,
            RELAY_URL=proxy.url,
        )
        answers = []
        get(f"{url}/healthz")
        asking = threading.Thread(target=lambda: answers.append(get(f"{url}/slow")))
        asking.start()
        wait_until(entered.exists)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(url))
        assert process.poll() is None
        assert answers == []  # refused while the request still runs
        go_on.touch()
        asking.join(20)
        assert answers == [(200, "done")]
        process.communicate(timeout=20)
        assert process.returncode == 0
        wait_until(lambda: proxy.farewells() == len(proxy.last) > 0)
    with driver.connect(driver.relay(local_worker.url, local_worker.token), f"do:{name}") as connection:
        assert connection.execute("SELECT id FROM kept ORDER BY id").fetchall() == [(1,), (2,)]


def children_of(pid):
    """The processes that one has started (Linux)."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_process_that_is_killed_in_a_transaction_leaves_nothing_and_another_one_serves(
    gunicorn, local_worker, tmp_path
):
    (tmp_path / "slow_site.py").write_text(SLOW_SITE)
    entered, go_on = tmp_path / "entered", tmp_path / "go-on"
    name = f"test/gunicorn/{os.urandom(6).hex()}"
    process, url = gunicorn(
        *("--pythonpath", str(tmp_path), "--workers", "2", "slow_site:application"),
        ENTERED=str(entered),
        GO_ON=str(go_on),
        OBJECT=name,
    )
    answers = []
    asking = threading.Thread(target=lambda: answers.append(get(f"{url}/slow")))
    asking.start()
    wait_until(lambda: entered.exists() and entered.read_text())
    victim = int(entered.read_text())
    assert victim in children_of(process.pid)
    os.kill(victim, signal.SIGKILL)
    asking.join(20)
    assert answers == [(None, "")]
    # At once, and not when the lease of 25 s has run out.
    transport = driver.relay(local_worker.url, local_worker.token)
    with driver.connect(transport, f"do:{name}", timeout=10) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'kept'").fetchall()
        assert tables == []
        wait_until(lambda: len(children_of(process.pid) - {victim}) == 2)
        entered.unlink()
        go_on.touch()
        assert get(f"{url}/slow") == (200, "done")
        assert connection.execute("SELECT id FROM kept ORDER BY id").fetchall() == [(1,), (2,)]


def refuses(url):
    port = int(url.rpartition(":")[2])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


class NoSecret(BaseHTTPRequestHandler):
    """Answers as a Worker without its secret does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def without_secret():
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoSecret)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("case", "codes", "said"),
    [
        ("dead worker", ("unreachable", "unreachable"), "is the Worker up, and RELAY_URL right?"),
        ("worker without secret", ("relay_not_ready", "relay_not_ready"), "the Worker's secret RELAY_TOKEN"),
        ("wrong address", ("not_the_relay", "not_the_relay"), "What answers at RELAY_URL is no relay"),
        ("wrong token", ("unauthorized", "unauthorized"), "The token was refused"),
        ("empty d1", ("not_migrated", None), "D1 has not been migrated"),
        ("no relay", ("not_migrated", "relay_not_configured"), "D1 has not been migrated"),
    ],
)
def test_a_half_started_site_says_what_is_missing(gunicorn, local_worker, without_secret, case, codes, said):
    environment = {
        "dead worker": {"RELAY_URL": "http://127.0.0.1:9"},
        "worker without secret": {"RELAY_URL": without_secret},
        "wrong address": {"RELAY_URL": f"{local_worker.url}/elsewhere"},
        "wrong token": {"RELAY_TOKEN": "a-token-that-is-wrong"},
        "empty d1": {"CLOUDFLARE_DATABASE_ID": DATABASE_ID.format(6)},
        "no relay": {
            "CLOUDFLARE_DATABASE_ID": DATABASE_ID.format(6),
            "CLOUDFLARE_D1_TOKEN": "a-d1-token",
            "D1_TRANSPORT": "rest",
            "RELAY_URL": "",
        },
    }[case]
    process, url = gunicorn(**environment)
    status, page = get(f"{url}/")
    health_status, health = get(f"{url}/healthz")
    process.terminate()
    log = process.communicate(timeout=20)[1]
    assert (status, health_status) == (503, 503)
    checks = json.loads(health)["checks"]
    assert tuple(checks[name].get("error") for name in ("directory", "tenants")) == codes
    text = html.unescape(page)
    assert said in text
    assert said in log
    for secret in (local_worker.token, "a-token-that-is-wrong", "a-d1-token"):
        assert secret not in text + health + log


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is empty"),
        ({"RELAY_TOKEN": ""}, "RELAY_URL is set, RELAY_TOKEN is not"),
        ({"CLOUDFLARE_DATABASE_ID": ""}, "CLOUDFLARE_DATABASE_ID is empty"),
    ],
)
def test_a_missing_setting_ends_gunicorn_with_its_name(gunicorn, environment, message):
    process, _ = gunicorn(wait=False, **environment)
    log = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert message in log


def test_a_request_has_its_whole_time_however_soon_its_headers_came(monkeypatch):
    left = []
    monkeypatch.setattr(ThreadWorker, "handle", lambda self, conn: self.handle_request(None, conn))
    monkeypatch.setattr(
        ThreadWorker, "handle_request", lambda self, req, conn: left.append(self._reading[conn])
    )
    worker_class = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["Worker"]
    worker = worker_class.__new__(worker_class)
    worker._reading = {}
    with socket.socket() as sock:
        started = time.monotonic()
        worker.handle(Mock(sock=sock))
    assert left[0] - started >= worker.seconds_for_request
    assert worker._reading == {}


def test_health_is_told_at_once_while_every_thread_waits_for_a_silent_database(gunicorn, proxy):
    proxy.stalled = True
    _, url = gunicorn("--workers", "1", "--threads", "2", RELAY_URL=proxy.url)
    visitors = [threading.Thread(target=get, args=[f"{url}/"]) for _ in range(6)]
    for visitor in visitors:
        visitor.start()
    wait_until(lambda: proxy.accepted >= 2)  # as many sessions as threads
    try:
        # A visitor's call waits for 30 s, these two for 20 at most.
        assert get(f"{url}/healthz/live")[0] == 200
        status, text = get(f"{url}/healthz?from=monitoring")
        assert (status, json.loads(text)["ok"]) == (503, False)
    finally:
        proxy.release()
        for visitor in visitors:
            visitor.join(30)


def test_a_request_read_ahead_of_one_for_health_takes_none_of_its_threads(gunicorn, proxy):
    proxy.stalled = True
    _, url = gunicorn("--workers", "1", "--threads", "6", RELAY_URL=proxy.url)
    first = b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    second = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: %s\r\nX-B: %s"
    # gunicorn reads 8192 bytes at once; what is left then looks like a whole request.
    room = 8192 - len(first + second % (b"", b""))
    sent = first + second % (b"a" * (room // 2), b"b" * (room - room // 2))
    sent += b"GET /healthz/live HTTP/1.1\r\n\r\n"
    visitors = [socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) for _ in range(6)]
    try:
        for visitor in visitors:
            visitor.sendall(sent)
            assert visitor.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(lambda: proxy.accepted >= 4)
        assert get(f"{url}/healthz/live")[0] == 200
    finally:
        proxy.release()
        for visitor in visitors:
            visitor.close()


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.1\r\nHost: a\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz/other HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /HEALTHZ HTTP/1.1\r\nHost: a\r\n\r\n",
        "",
    ],
)
def test_what_would_hold_up_the_threads_for_health_is_given_none_of_them(head):
    asks_health = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["asks_health"]
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.sendall(head.encode())
        assert not asks_health(near)
        far.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n")
        near.recv(len(head) or 1) if head else None
        assert asks_health(near)


HURRIED = """
import runpy
locals().update(runpy.run_path("gunicorn.conf.py"))
Worker.seconds_for_headers, Worker.seconds_for_request, Worker.seconds_for_silence = 1, 2, 2
"""
LARGE_SITE = """
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", [("Content-Length", "50000000")])
        return environ["wsgi.file_wrapper"](open("large", "rb"))
    if environ["PATH_INFO"] == "/large":
        body = b"x" * 50_000_000
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize(
    "sent", ["GET", "GET / HTTP/1.1\r\nHost: a\r\nX-", "whole headers", "large answer", "large file"]
)
def test_clients_that_stop_in_the_middle_do_not_keep_others_out(gunicorn, tmp_path, sent):
    (tmp_path / "hurried.py").write_text(HURRIED)
    (tmp_path / "large_site.py").write_text(LARGE_SITE.replace('"large"', repr(str(tmp_path / "large"))))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(50_000_000)
    options = ("--config", str(tmp_path / "hurried.py"), "--pythonpath", str(tmp_path), "--workers", "1")
    _, url = gunicorn(*options, "large_site:application")
    port = int(url.rpartition(":")[2])
    request = {
        "whole headers": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
        "large answer": "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        "large file": "GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
    }.get(sent, sent)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(16)]
    try:
        for client in clients:
            client.sendall(request.encode())
        # Without the limits it would never be answered; on a busy machine they end this one's request, too.
        wait_until(lambda: status_of(url) == 200, seconds=120)
    finally:
        for client in clients:
            client.close()


PATIENT = """
import runpy
locals().update(runpy.run_path("gunicorn.conf.py"))
Worker.seconds_for_headers, Worker.seconds_for_farewell = 600, 600
"""


def test_clients_that_do_not_close_what_is_over_keep_nobody_out(gunicorn, tmp_path):
    (tmp_path / "patient.py").write_text(PATIENT)
    (tmp_path / "large_site.py").write_text(LARGE_SITE)
    options = ("--config", str(tmp_path / "patient.py"), "--pythonpath", str(tmp_path), "--workers", "1")
    _, url = gunicorn(*options, "--threads", "1", "large_site:application")
    port = int(url.rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            client.settimeout(120)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert get(url, timeout=120)[0] == 200
        # They are all heard out still: nobody was served because one of them was given up.
        for client in clients:
            while client.recv(1000):
                pass
            client.sendall(b"x")
            client.sendall(b"x")  # a closed one would have reset the connection by now
    finally:
        for client in clients:
            client.close()


LIMITED = """
import os, resource, runpy
locals().update(runpy.run_path("gunicorn.conf.py"))
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
opened = [open(os.devnull) for _ in range(24)]  # what sessions with the relay and the site's own files take
"""


def test_a_process_that_may_open_1024_files_outlives_more_clients_than_that(gunicorn, tmp_path):
    (tmp_path / "limited.py").write_text(LIMITED)
    (tmp_path / "large_site.py").write_text(LARGE_SITE)
    options = ("--config", str(tmp_path / "limited.py"), "--pythonpath", str(tmp_path), "--workers", "1")
    process, url = gunicorn(*options, "large_site:application")
    before = children_of(process.pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    clients = []
    try:
        clients += [socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) for _ in range(1100)]
        assert status_of(url) == 200
        assert children_of(process.pid) == before
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
