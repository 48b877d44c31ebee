"""Gives every test process a relay Worker of its own on real workerd, before Django reads its settings."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from do_bridge import pytest_plugin
from do_bridge.relay import RelayError, tokens
from tests.production import HistoryWorker, ProductionWorker, place_for_data

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"

SETTINGS = "project.settings"

TAKE_MINUTES = tuple(f"tests/{folder}/test_" for folder in ("torture", "leak", "django_suite", "soak"))

WORKER = pytest.StashKey[Any]()
STATE = pytest.StashKey[Path]()


def site_environment(worker: Any) -> dict[str, str]:
    """Every setting that the site reads, so that neither a developer's `.env` nor shell reaches a test."""
    return {
        "SECRET_KEY": "for-tests-alone-" + worker.token,
        "DEBUG": "False",
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1,.example.test",
        "CLOUDFLARE_ACCOUNT_ID": "",
        "CLOUDFLARE_DATABASE_ID": DATABASE_ID.format(0),
        "CLOUDFLARE_D1_TOKEN": "",
        "CLOUDFLARE_API_TOKEN": "",
        "D1_TEST_DATABASE_ID": DATABASE_ID.format(1),
        "D1_TRANSPORT": "relay",
        "D1_TRANSACTIONS": os.environ.get("TEST_D1_TRANSACTIONS", "none"),
        "D1_REPLICAS": "False",
        "D1_API_BASE": worker.api_base,
        "RELAY_URL": worker.url,
        "RELAY_JURISDICTION": "",
        "RELAY_TOKEN": worker.token,
        **dict.fromkeys(tokens.OPTIONAL_TOKENS, ""),
        "MIGRATE_TOKEN": "",
        "COUNT_USAGE": "False",
        "CSRF_TRUSTED_ORIGINS": "",
        "TENANT_DOMAIN": "",
        "TIME_ZONE": "UTC",
        "SECURE": "False",
        "HSTS_SECONDS": "0",
        "BEHIND_PROXY": "False",
        "PROXY_COUNT": "1",
        "LOG_LEVEL": "WARNING",
        "DEMO_PASSWORD": "demo-" + worker.token,
    }


def hands_tests_out(config: pytest.Config) -> bool:
    """True in the process of `pytest -n` that runs none itself; its environment goes to those that do."""
    return not hasattr(config, "workerinput") and bool(getattr(config.option, "numprocesses", None))


def remove_leftovers(place: Path | None) -> None:
    """Remove the data of killed test processes from memory; nothing else would before the machine's end."""
    for folder in place.glob("relay-tests-*-*") if place else ():
        if not Path("/proc", folder.name.split("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def needs_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests, and does not only list them."""
    return not hands_tests_out(config) and not config.option.collectonly


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Starts the Worker, without waiting for it yet, and points the settings at it."""
    if not config.pluginmanager.has_plugin("do_bridge"):
        # As if the package were installed.
        config.pluginmanager.register(pytest_plugin, "do_bridge")
    if hands_tests_out(config):
        return
    if settings.configured:
        # Somebody's own databases: where it is told to, pytest-django reads them before this file.
        raise pytest.UsageError(
            "Unset DJANGO_SETTINGS_MODULE, and leave --ds out: the tests set it themselves."
        )
    place = place_for_data()
    remove_leftovers(place)
    state = Path(tempfile.mkdtemp(prefix=f"relay-tests-{os.getpid()}-", dir=place))
    worker = ProductionWorker(state, token="test-token-" + os.urandom(12).hex())
    config.stash[WORKER], config.stash[STATE] = worker, state
    os.environ.update(site_environment(worker), DJANGO_SETTINGS_MODULE=SETTINGS)
    # pytest-django sets Django up only where the settings were ready before this file was read.
    django.setup()
    # Slow by design: a password would cost more than the rest of most tests.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # The Worker of this file instead of the plugin's, and rows that D1 keeps from one test to the next.
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"TEST_RELAY": "configured", "RESTORE_TEST_ROWS": True}
    if needs_worker(config):
        try:
            worker.spawn()
        except RelayError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the tests that take minutes each, so that no process is left alone with one in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(TAKE_MINUTES))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Waits for the Worker once the tests are collected, which the garbage collector need not visit again."""
    gc.collect()
    # Seven thousand tests live to the end, and a full collection took a quarter of a second.
    gc.freeze()
    if session.items and needs_worker(session.config):
        try:
            session.config.stash[WORKER].wait()
        except RelayError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keeps the Worker's log of a run that failed, in test-results/."""
    worker = session.config.stash.get(WORKER, None)
    if worker is None or not worker.log.exists():
        return
    if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        process = os.environ.get("PYTEST_XDIST_WORKER", "main")
        kept = session.config.rootpath / "test-results" / f"wrangler-{process}.log"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(worker.log.read_text(errors="replace").replace(worker.token, "***"))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the Worker, whatever ended the run."""
    worker = config.stash.get(WORKER, None)
    if worker is not None:
        worker.close()
        shutil.rmtree(config.stash[STATE], ignore_errors=True)


@pytest.fixture(scope="session")
def local_worker(pytestconfig: pytest.Config) -> Any:
    """The ProductionWorker of this test process: url, token, api_base, workerd_pids(). Don't end it."""
    return pytestconfig.stash[WORKER]


@pytest.fixture(scope="session")
def history_worker(pytestconfig: pytest.Config) -> Iterator[Any]:
    """A HistoryWorker, whose objects keep a history: a stand-in for the platform's recovery. Don't end it."""
    tenants = "a-token-for-objects-alone-" + os.urandom(12).hex()
    folder = Path(tempfile.mkdtemp(prefix="history-", dir=pytestconfig.stash[STATE]))
    with HistoryWorker(folder, tokens={"RELAY_TOKEN_TENANTS": tenants}) as worker:
        yield worker


@pytest.fixture
def own_worker(pytestconfig: pytest.Config) -> Iterator[Callable[..., Any]]:
    """Makes ProductionWorkers, not started, that a test may kill and restart; ends them after the test."""
    made: list[Any] = []
    place = Path(tempfile.mkdtemp(prefix="own-", dir=pytestconfig.stash[STATE]))

    def make(**options: Any) -> Any:
        options.setdefault("folder", place / f"state-{len(made)}")
        options.setdefault("token", "own-token-" + os.urandom(12).hex())
        worker = ProductionWorker(**options)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def relay(local_worker: Any) -> Iterator[Any]:
    """A RelayTransport to this process's Worker, with a pool of its own."""
    from do_bridge.driver.transports.relay import RelayTransport

    transport = RelayTransport(local_worker.url, local_worker.token)
    yield transport
    transport.close()


@pytest.fixture
def proxy(local_worker: Any) -> Iterator[Any]:
    """A Proxy before this process's Worker: it cuts, loses and holds back what it is told to."""
    from tests.driver.proxy import Proxy

    with Proxy(local_worker.port) as running:
        yield running


@pytest.fixture
def proxied(proxy: Any, local_worker: Any) -> Iterator[Any]:
    """A RelayTransport through the proxy."""
    from do_bridge.driver.transports.relay import RelayTransport

    transport = RelayTransport(proxy.url, local_worker.token)
    yield transport
    proxy.release()
    transport.close()


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests that go out from now on."""
    from do_bridge.driver.transports.relay_session import RelaySession

    sent: list[dict[str, Any]] = []
    exchange = RelaySession._exchange

    def noted(self: Any, messages: Any, deadline: Any) -> Any:
        sent.extend(messages)
        return exchange(self, messages, deadline)

    monkeypatch.setattr(RelaySession, "_exchange", noted)
    return sent


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix() -> None:
    """No suffix behind the test database's id: each test process has its own Worker, so its own databases."""


@pytest.fixture
def count_trips(local_worker: Any) -> Callable[[], Any]:
    """Makes contexts that count round trips, on fresh sessions: one at its limit costs a trip more."""
    from do_bridge import driver

    def counting() -> Any:
        driver.relay(local_worker.url, local_worker.token).close()
        return driver.count_trips()

    return counting


@pytest.fixture
def trips(count_trips: Callable[[], Any]) -> Iterator[Any]:
    """Counts the round trips of the test's own code: `trips.count` (see do_bridge.driver.count_trips)."""
    with count_trips() as counter:
        yield counter


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Makes the test databases of every alias: pytest-django's own would leave the tenants' template out."""
    from django.db import connections
    from django.test.utils import setup_databases, teardown_databases

    from do_bridge.testing.rows import first_rows

    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False, serialized_aliases=set())
        # Before a fixture of a module writes rows, which each later test would begin with.
        first_rows(connections["default"])
    yield
    with django_db_blocker.unblock():
        teardown_databases(databases, verbosity=0)
