"""`make run` in a fresh copy: its secrets, its own databases whatever `.env` says, its end."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from do_bridge import driver
from do_bridge.relay import LocalRelay, RelayError, ports, processes, tokens
from do_bridge.relay.local import database_id
from project import serve

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("do_bridge", "accounts", "blog", "project", "worker", "manage.py", "gunicorn.conf.py")
# Somebody's own: nothing of it may be reached, or written to, by `make run`.
PRODUCTION = {
    "SECRET_KEY": "a-secret-key-of-production-0123456789",
    "SECURE": "True",
    "ALLOWED_HOSTS": "blog.example",
    "TENANT_DOMAIN": "blog.example",
    "CLOUDFLARE_DATABASE_ID": "11111111-2222-4333-8444-555555555555",
    "RELAY_URL": "https://relay.blog.example",
    "RELAY_TOKEN": "a-token-of-production-0123456789abcdef",
    "RELAY_TOKEN_TENANTS": "another-token-of-production-0123456789",
    "D1_TRANSPORT": "rest",
    "CLOUDFLARE_D1_TOKEN": "an-api-token-of-production",
}


@pytest.fixture
def checkout(tmp_path):
    """A copy of the code, as after a clone; the Worker's tools are shared."""
    for part in PARTS:
        ignore = shutil.ignore_patterns("node_modules", ".dev.vars", "dist", ".wrangler")
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=ignore)
        else:
            shutil.copyfile(ROOT / part, tmp_path / part)
    (tmp_path / "worker" / "node_modules").symlink_to((ROOT / "worker" / "node_modules").resolve())
    return tmp_path


class Run:
    """`make run`, or another command, in a folder until the block ends, which is Ctrl-C."""

    def __init__(self, folder, *command, **environment):
        self.folder = folder
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = command or ("-m", "project.serve")
        self.environment = environment or {"PORT": str(self.port), "RELAY_PORT": str(ports.free_port())}
        self.said = []

    def __enter__(self):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            cwd=self.folder,
            env={**kept, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        timer = threading.Timer(90, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            self.said.append(line)
            if "Ctrl-C ends" in line:
                break
        timer.cancel()
        assert "Ctrl-C ends" in self.said[-1], "".join(self.said)
        return self

    def __exit__(self, *exc_info):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=40)

    def started(self):
        """Every process that was started in the folder, by its working directory."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                where, line = (place / "cwd").readlink(), (place / "cmdline").read_bytes()
            except OSError:
                continue
            if where.is_relative_to(self.folder) and line:
                found[int(place.name)] = line
        return found

    def in_another_terminal(self, *arguments):
        """Run one of the project's commands beside it, with `.env` alone; return what it said."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def password(self):
        """What it says that one may sign in with."""
        return re.search(r"log in as: +admin, password (\S+)", "".join(self.said))[1]

    def get(self, path):
        """Return a page, as a visitor sees it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(self.url + path, timeout=20).read().decode()

    def wait_for(self, text):
        """Wait until it has said a text."""
        while not any(text in line for line in self.said):
            line = self.process.stdout.readline()
            assert line, "".join(self.said)
            self.said.append(line)

    def post(self, opener, path, fields):
        """Send a form from its own page; return the answer's page."""
        form = opener.open(self.url + path, timeout=60).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        request = urllib.request.Request(self.url + path, data, {"Referer": self.url + path})  # noqa: S310
        return opener.open(request, timeout=60).read().decode()

    def sign_in(self):
        """Sign in to D1's admin as a person does; returns the page behind it."""
        return self._signed_in()[1]

    def signed_in(self):
        """Sign in as a person does; returns what opens pages from then on."""
        return self._signed_in()[0]

    def _signed_in(self):
        handlers = (urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        address = f"{self.url}/admin/login/?next=/admin/"
        form = opener.open(address, timeout=20).read().decode()
        fields = {
            "csrfmiddlewaretoken": re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1],
            "username": "admin",
            "password": self.password(),
            "next": "/admin/",
        }
        data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(address, data, {"Referer": address})  # noqa: S310
        return opener, opener.open(request, timeout=20).read().decode()


def test_a_fresh_checkout_is_served_with_secrets_of_its_own_and_ends_without_a_trace(checkout):
    with Run(checkout) as run:
        assert "Log out" in run.sign_in()
        assert len(re.findall(r'href="/t/[a-z0-9-]+/"', run.get("/"))) >= 2
        # The relay's port is not the usual one here.
        assert "Tenant x1: created" in run.in_another_terminal("create_tenant", "x1")
        code = "from django.db import connection as c; print(c.settings_dict['OPTIONS']['transactions'])"
        assert "optimistic" in run.in_another_terminal("shell", "-c", code)
        processes = run.started()
        assert any(b"workerd" in line for line in processes.values())
        secrets = [
            checkout / ".env",
            checkout / "state" / "relay-token",
            checkout / "state" / "demo-password",
        ]
        assert {stat.S_IMODE(file.stat().st_mode) for file in secrets} == {0o600}
        texts = re.findall(
            r"^(?:SECRET_KEY|RELAY_TOKEN|MIGRATE_TOKEN)=(.{32,})$", secrets[0].read_text(), re.M
        )
        assert len(set(texts)) == 3
        for line in processes.values():
            assert not any(text.encode() in line for text in texts)
    assert run.process.returncode == 0
    assert run.started() == {}

    # The next one finds the data, and takes none of the settings that `.env` has for production.
    (checkout / ".env").write_text("".join(f"{name}={value}\n" for name, value in PRODUCTION.items()))
    first = run.password()
    with Run(checkout) as again:
        assert again.password() == first
        assert "Log out" in again.sign_in()
    assert again.process.returncode == 0
    assert again.started() == {}
    assert "a-token-of-production" in (checkout / ".env").read_text()


def counting_to(number):
    """A statement that reads nothing and takes long."""
    return (
        f"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT {number}) SELECT count(*) FROM c"
    )


@pytest.mark.timeout(600)
def test_a_statement_that_takes_long_is_given_up_by_its_page_and_the_site_lives(checkout):
    with Run(checkout) as run:
        opener = run.signed_in()
        tenant = re.search(r'href="/t/([a-z0-9-]+)/"', run.get("/"))[1]
        path = f"/admin/databases/tenant/{tenant}/sql/"
        page = run.post(opener, path, {"sql": counting_to(100_000_000), "run": ""})
        assert "took longer than 5 seconds" in page
        # It is still at work: nothing outside can interrupt SQLite.
        wait_until(lambda: serve.healthy(f"http://127.0.0.1:{run.environment['RELAY_PORT']}/healthz"))
        assert "COUNT" in run.post(opener, path, {"sql": "SELECT 1 AS count", "run": ""}).upper()
        assert run.process.poll() is None


def wait_until(holds):
    while not holds():
        time.sleep(0.1)


@pytest.fixture
def silent_quickly(monkeypatch):
    """The watch of `make run` asks often, and has heard nothing soon."""
    monkeypatch.setattr(serve, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(serve, "ANSWER_SECONDS", 1.0)


class Watch(threading.Thread):
    """serve.watch() of a Worker beside a process that never ends; `said` and the `error` that it raised."""

    def __init__(self, worker, monkeypatch):
        super().__init__(daemon=True)
        self.worker, self.said, self.error, self.told = worker, [], None, threading.Condition()
        monkeypatch.setattr(serve, "say", self.say)
        self.server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def say(self, text):
        with self.told:
            self.said.append(text)
            self.told.notify_all()

    def wait_for(self, text):
        with self.told:
            assert self.told.wait_for(lambda: any(text in line for line in self.said), timeout=90), self.said

    def run(self):
        try:
            serve.watch(self.server, self.worker)
        except RelayError as error:
            self.error = error

    def ended(self):
        """Wait for its end; return what it raised."""
        self.join(60)
        self.server.kill()
        self.server.wait()
        return str(self.error)


def compute(worker):
    """Have the Worker's one thread compute for longer than a test takes."""

    def ask():
        transport = driver.relay(worker.url, worker.token)
        with suppress(driver.Error), driver.connect(transport, "do:test/busy", timeout=1) as connection:
            connection.execute(counting_to(10_000_000_000))

    threading.Thread(target=ask, daemon=True).start()


def test_a_worker_that_computes_is_busy_and_one_that_was_killed_then_is_gone(
    own_worker, silent_quickly, monkeypatch
):
    with own_worker(wrangler=True) as worker:
        watch = Watch(worker, monkeypatch)
        compute(worker)
        watch.start()
        watch.wait_for("busy with a long statement")
        assert watch.is_alive()
        os.killpg(worker.pid, signal.SIGKILL)
        assert "The local relay has ended" in watch.ended()


def test_a_worker_that_neither_answers_nor_computes_has_ended(own_worker, silent_quickly, monkeypatch):
    with own_worker(wrangler=True) as worker:
        watch = Watch(worker, monkeypatch)
        watch.start()
        for pid in worker.workerd_pids():
            os.kill(pid, signal.SIGSTOP)
        try:
            assert "The local relay no longer answers" in watch.ended()
        finally:
            for pid in worker.workerd_pids():
                os.kill(pid, signal.SIGCONT)
        assert not any("busy" in line for line in watch.said)


def test_the_processor_time_of_a_process_grows_with_its_work():
    before = processes.cpu_seconds(os.getpid())
    while processes.cpu_seconds(os.getpid()) == before:
        sum(range(100_000))
    assert processes.cpu_seconds(2**22 + 1) == 0


def test_the_worker_alone_serves_at_the_port_and_keeps_its_data_in_the_folder_that_are_asked_for(checkout):
    port, state = ports.free_port(), checkout / "elsewhere"
    command = ("-m", "do_bridge.relay", "dev", "--source", "worker", "--folder", str(state))
    with Run(checkout, *command, RELAY_PORT=str(port)) as run:
        url = re.search(r"The relay listens on (\S+)\.", "".join(run.said))[1]
        assert url == f"http://127.0.0.1:{port}"
        token = tokens.kept_token(state / "relay-token")
        with driver.connect(driver.relay(url, token), "do:test/alone") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            driver.relay(url, token).close()
        assert any(state.rglob("*.sqlite"))
    assert run.process.returncode == 0
    assert run.started() == {}
    assert not (checkout / "state").exists()


OWN = f"CLOUDFLARE_DATABASE_ID={database_id(0)}\n"


@pytest.mark.parametrize(
    ("text", "pointed"),
    [
        (f"{OWN}RELAY_URL=http://127.0.0.1:8787\nX=1\n", f"{OWN}RELAY_URL=http://127.0.0.1:5\nX=1\n"),
        (
            f"export {OWN}export RELAY_URL='http://localhost:1'\n",
            f"export {OWN}export RELAY_URL='http://127.0.0.1:5'\n",
        ),
        (f"{OWN}RELAY_URL=https://relay.blog.example\n", None),
        (f"{OWN}#RELAY_URL=http://127.0.0.1:8787\n", None),
        (
            f"{OWN}RELAY_URL=http://127.0.0.1:1\nRELAY_TOKEN=old\n",
            f"{OWN}RELAY_URL=http://127.0.0.1:5\nRELAY_TOKEN=a-token\n",
        ),
        ("CLOUDFLARE_DATABASE_ID=another\nRELAY_URL=http://127.0.0.1:8787\n", None),
    ],
)
def test_an_env_file_of_this_machines_databases_follows_the_relays_port_and_no_other_does(
    tmp_path, text, pointed
):
    file = tmp_path / ".env"
    relay = LocalRelay(tmp_path, 5, "a-token")
    assert not relay.refresh(file)
    file.write_text(text)
    assert relay.refresh(file) == (pointed is not None)
    assert file.read_text() == (pointed or text)
    assert not relay.refresh(file)
    relay.close()


def test_a_relay_port_that_was_not_asked_for_gives_way_and_one_that_was_does_not(monkeypatch):
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(serve, "RELAY_PORT", port)
        monkeypatch.delenv("RELAY_PORT", raising=False)
        assert serve.choose_relay_port(8000) not in (0, port)
        monkeypatch.setenv("RELAY_PORT", str(port))
        with pytest.raises(RelayError, match=f"Port {port} .* RELAY_PORT"):
            serve.choose_relay_port(8000)


def test_the_relay_never_takes_the_port_that_the_site_is_to_have(monkeypatch):
    port = ports.free_port()
    monkeypatch.setattr(serve, "RELAY_PORT", port)
    monkeypatch.delenv("RELAY_PORT", raising=False)
    assert serve.choose_relay_port(8000) == port
    assert serve.choose_relay_port(port) not in (0, port)
    monkeypatch.setenv("RELAY_PORT", str(port))
    with pytest.raises(RelayError, match=f"PORT and RELAY_PORT are both {port}"):
        serve.choose_relay_port(port)


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_named_with_its_setting(monkeypatch, value):
    monkeypatch.setenv("PORT", value)
    with pytest.raises(RelayError, match="PORT is .* Set it to a port"):
        ports.port_setting("PORT", 8000)


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 \xff\r\n\r\n"])
def test_what_speaks_no_http_is_not_healthy_and_no_crash(answer):
    with socket.create_server((ports.HOST, 0)) as server:

        def serve_once():
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=serve_once, daemon=True)
        thread.start()
        assert not serve.healthy(f"http://{ports.HOST}:{server.getsockname()[1]}/healthz")
        thread.join(60)


def test_the_folder_may_have_spaces_in_its_name(tmp_path):
    folder = tmp_path / "my projects"
    for part in (".venv/bin", "project"):
        (folder / part).mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / "project" / "serve.py").write_text("print('served')")
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    command = ["make", "run", "RUN_STAMP=", "NODE_STAMP="]  # what it needs is installed
    # Else a `make test` around it has it name the folders that it enters.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    assert done.stdout == "served\n", done.stderr


def test_an_environment_whose_making_was_killed_is_made_whole(tmp_path):
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/lock.txt").touch()
    # What is there until pip, the last part, has come.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    command = ["make", ".venv/run", "RUN_STAMP=.venv/run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
