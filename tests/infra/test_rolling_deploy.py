"""A rolling deploy of the real site: old and new processes under load, and migrate amid them."""

import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from do_bridge import driver
from tests.conftest import site_environment
from tests.infra.releases import Release
from tests.leak.pages import csrf

PEOPLE, TENANTS = ("ada", "bo", "cy", "di"), [f"t{number:02}" for number in range(8)]
PASSWORD = "a-pass-word-of-theirs"
SET_UP = f"""
from accounts.models import User
for name in {PEOPLE}:
    User.objects.create_user(name, password={PASSWORD!r})
"""
# Rounds that each client makes before, amid and after; a round is three requests.
ROUNDS = 6
# For a test that hangs: what is waited for is counted in requests.
SECONDS = 300


@pytest.fixture
def release(own_worker, tmp_path):
    """Makes releases of the site by their names, on one Worker with databases of its own."""
    worker = own_worker(port=0)
    worker.start()
    environment = {**site_environment(worker), "DJANGO_SETTINGS_MODULE": "project.settings"}

    def make(name):
        return Release(tmp_path / name, environment)

    make.worker = worker
    return make


def ran(release, *arguments):
    code, output = release.manage(*arguments)
    assert code == 0, output
    return output


def make_site(release, tmp_path):
    """Migrate D1 and make the people and the tenants, of which all are members."""
    ran(release, "migrate", "--database", "default", "--verbosity", "0")
    ran(release, "shell", "-c", SET_UP)
    listed = tmp_path / "tenants.csv"
    listed.write_text("".join(f"{slug},{slug},{' '.join(PEOPLE)}\n" for slug in TENANTS))
    ran(release, "create_tenants", str(listed))


@contextmanager
def serving(release):
    """Serve a release while the block runs; yields its address."""
    process, url = release.serve()
    try:
        wait_until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, release.log()
        yield url
        process.terminate()
        assert process.wait(SECONDS) == 0, release.log()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def answers(url):
    try:
        return httpx.get(f"{url}/healthz/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(holds, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Client(threading.Thread):
    """One person who reads and writes in all tenants in turn, until it is told to stop."""

    def __init__(self, url, name):
        super().__init__(daemon=True)
        self.name, self.rounds, self.wrong, self.written = name, 0, [], []
        self._over = threading.Event()
        self._http = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)
        path = "/accounts/login/"
        form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": self._token(path)}
        assert self._http.post(path, data=form).status_code == 302

    def run(self):
        try:
            while not self._over.wait(0.05):
                self._round(TENANTS[self.rounds % len(TENANTS)])
                self.rounds += 1
        except Exception as error:
            self.wrong.append(repr(error))

    def end(self):
        self._over.set()
        self.join(SECONDS)
        assert not self.is_alive()
        self._http.close()

    def _round(self, slug):
        title = f"{self.name} {self.rounds}"
        self._expect(200, self._http.get(f"/t/{slug}/"))
        path = f"/t/{slug}/posts/new/"
        form = {"title": title, "content": "-", "csrfmiddlewaretoken": self._token(path)}
        answer = self._http.post(path, data=form)
        if self._expect(302, answer):
            self.written.append((slug, title))

    def _token(self, path):
        page = self._http.get(path)
        self._expect(200, page)
        return csrf(page.text)

    def _expect(self, status, answer):
        if answer.status_code != status:
            self.wrong.append(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}")
        return answer.status_code == status


@contextmanager
def load(url, *names):
    """Let people read and write while the block runs; yields them."""
    clients = [Client(url, name) for name in names]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.end()


def go_on(clients, rounds=ROUNDS):
    """Wait until each of the clients has made so many rounds more."""
    goals = [(client, client.rounds + rounds) for client in clients]
    wait_until(lambda: all(client.rounds >= goal or client.wrong for client, goal in goals))


def unharmed(clients, release):
    for client in clients:
        assert client.wrong == [], release.log()[-4000:]
        assert client.rounds >= 2 * ROUNDS


def posts(worker):
    """Return (slug, title) of the posts that the objects hold."""
    found = []
    transport = driver.relay(worker.url, worker.token)
    for slug in TENANTS:
        with driver.connect(transport, f"do:tenant/{slug}") as connection:
            rows = connection.execute("SELECT title FROM blog_post").fetchall()
            found += [(slug, title) for (title,) in rows]
    transport.close()
    return found


@pytest.mark.timeout(4 * SECONDS)
def test_old_and_new_processes_serve_while_all_databases_are_migrated(release, tmp_path):
    old, new = release("old"), release("new").add_migration()
    make_site(old, tmp_path)
    with serving(old) as old_url, load(old_url, "ada", "bo") as before:
        go_on(before)
        ran(new, "migrate", "--database", "default")
        with serving(new) as new_url:
            migrating = new.command("migrate", "--database", "tenant", "--jobs", "2")
            # The first clients of the new code come before all tenants are migrated.
            with load(new_url, "cy", "di") as after:
                assert migrating.wait(SECONDS) == 0, migrating.stderr
                go_on([*before, *after])
                # The second half: the old processes end, the new ones go on.
                for client in before:
                    client.end()
                unharmed(before, old)
                go_on(after)
            unharmed(after, new)
            # Also what the old code says of tenants that are ahead of it is true, and harms none.
            assert f"{len(TENANTS)} tenants, 0 failed: 0 migrated" in ran(
                old, "migrate", "--database", "tenant"
            )
    written = [pair for client in [*before, *after] for pair in client.written]
    assert sorted(posts(release.worker)) == sorted(written)
    assert "0 migrated" in ran(new, "migrate", "--database", "tenant")


@pytest.mark.timeout(4 * SECONDS)
def test_an_app_that_is_taken_out_of_the_settings_leaves_every_tenant_in_service(release, tmp_path):
    old, new = release("with-shop").add_app(), release("without").add_migration()
    make_site(old, tmp_path)
    gone = release("nothing-else")
    # Nothing to migrate: the app is gone, its migrations and its table stay.
    with serving(gone) as url, load(url, "ada", "bo") as clients:
        go_on(clients)
        for _ in range(2):
            said = ran(gone, "migrate", "--database", "tenant")
            assert f"{len(TENANTS)} tenants, 0 failed: 0 migrated, {len(TENANTS)} already up to date" in said
        go_on(clients)
    unharmed(clients, gone)
    # And behind at the same time: those that are used catch up, the command brings the others.
    with serving(new) as url, load(url, "cy", "di") as others:
        ran(new, "migrate", "--database", "default")
        said = ran(new, "migrate", "--database", "tenant")
        assert f"{len(TENANTS)} tenants, 0 failed" in said
        go_on(others, 2 * ROUNDS)
    unharmed(others, new)
    written = [pair for client in [*clients, *others] for pair in client.written]
    assert sorted(posts(release.worker)) == sorted(written)
    assert "0 migrated" in ran(new, "migrate", "--database", "tenant")
