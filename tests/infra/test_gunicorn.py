"""gunicorn with the project's configuration: how it stops, and what it says where something is missing."""

import html
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from do_bridge import driver
from do_bridge.relay.ports import free_port
from tests.conftest import DATABASE_ID
from tests.driver.proxy import Proxy

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


def test_sigterm_lets_a_running_transaction_finish(gunicorn, local_worker, tmp_path):
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
        wait_until(lambda: len(children_of(process.pid)) == 1)  # the idle processes have stopped
        assert answers == []
        go_on.touch()
        asking.join(60)
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
    asking.join(60)
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
        ("dead worker", ("unreachable", "unreachable"), "Check that the Worker runs, and that RELAY_URL"),
        (
            "worker without secret",
            ("relay_not_ready", "relay_not_ready"),
            "secret RELAY_TOKEN",
        ),
        ("wrong address", ("not_the_relay", "not_the_relay"), "The server at RELAY_URL is not a relay"),
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
        ({"RELAY_TOKEN": ""}, "RELAY_URL is set and RELAY_TOKEN is not"),
        ({"CLOUDFLARE_DATABASE_ID": ""}, "CLOUDFLARE_DATABASE_ID is empty"),
    ],
)
def test_a_missing_setting_ends_gunicorn_with_its_name(gunicorn, environment, message):
    process, _ = gunicorn(wait=False, **environment)
    log = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert message in log
