"""What /healthz says of D1 and of the objects, while they answer and while they don't."""

import asyncio
import logging
import threading
import time
from contextlib import contextmanager
from time import monotonic

import pytest
from django.db import connections
from django.test import AsyncClient

from project import health as health_module
from project.faults import TIMEOUT, UNREACHABLE
from project.health import Health, probe_directory, probe_objects
from tests.driver.proxy import Proxy

PROMISED = 2  # seconds for an answer, as the README says
PROBES = {"directory": probe_directory, "tenants": probe_objects}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No answer is left from another test; the test's own session with the relay neither."""
    monkeypatch.setattr(health_module, "health", Health(PROBES))
    monkeypatch.setattr(health_module, "_transports", {})


@pytest.fixture
def relay_at(monkeypatch):
    """Points both databases at another relay, or gives them another token."""

    def change(**values):
        for alias in ("default", "tenant"):
            for name, value in values.items():
                monkeypatch.setitem(connections.settings[alias], name, value)

    return change


@contextmanager
def took_at_most(seconds):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def errors(response):
    return {name: check.get("error") for name, check in response.json()["checks"].items()}


def test_health_is_told_with_no_cookie_and_kept_by_nobody(site, client):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json()
    assert body["ok"] is True
    assert {name: check["ok"] for name, check in body["checks"].items()} == {
        "directory": True,
        "tenants": True,
    }
    assert "Set-Cookie" not in response.headers


def test_the_process_alone_is_told_without_a_trip(client, relay_at):
    relay_at(HOST="http://127.0.0.1:9")
    response = client.get("/healthz/live")
    assert (response.status_code, response.json()) == (200, {"ok": True})


@pytest.mark.parametrize("host", ["unknown.example", "acme.example.test", "..", "a b"])
def test_every_host_is_answered(client, host, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"}
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/healthz", headers={"host": host}).status_code == 200
    assert client.head("/healthz/live", headers={"host": host}).status_code == 200


def test_health_is_asked_and_never_posted(client):
    assert client.post("/healthz").status_code == 405


@pytest.mark.django_db(databases=[])
def test_a_dead_worker_is_unreachable_and_told_within_the_deadline(client, relay_at):
    relay_at(HOST="http://127.0.0.1:9")
    with took_at_most(PROMISED + 1):
        response = client.get("/healthz")
    assert response.status_code == 503
    assert errors(response) == {"directory": "unreachable", "tenants": "unreachable"}
    assert "127.0.0.1" not in response.content.decode()


def test_a_stalled_worker_is_told_within_the_deadline_and_the_next_answer_is_good(
    client, relay_at, local_worker, monkeypatch
):
    monkeypatch.setattr(health_module, "SHARED", 0)
    with Proxy(local_worker.port) as proxy:
        relay_at(HOST=proxy.url)
        assert client.get("/healthz").status_code == 200
        proxy.stalled = True
        with took_at_most(PROMISED + 1):
            response = client.get("/healthz")
        assert response.status_code == 503
        assert errors(response) == {"directory": "timeout", "tenants": "timeout"}
        proxy.stalled = False
        with proxy._flow:
            proxy._flow.notify_all()
        wait_until(lambda: client.get("/healthz").status_code == 200)


def wait_until(holds, seconds=10):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_wrong_token_is_told_and_not_shown(client, relay_at, caplog):
    relay_at(PASSWORD="wrong-and-secret-token")
    response = client.get("/healthz")
    assert response.status_code == 503
    assert errors(response) == {"directory": "unauthorized", "tenants": "unauthorized"}
    assert "wrong-and-secret-token" not in response.content.decode() + caplog.text


def test_a_site_asks_in_its_own_jurisdiction_on_a_stand_in(client, relay_at, own_worker, monkeypatch):
    """A relay that serves one alone refuses every other object, the health check's own too."""
    worker = own_worker(variables={"JURISDICTION": "eu"}).start()
    relay_at(HOST=worker.url, PASSWORD=worker.token)
    tenants = lambda: errors(client.get("/healthz"))["tenants"]  # noqa: E731
    assert tenants() == "other_jurisdiction"
    monkeypatch.setattr(health_module, "health", Health(PROBES))
    monkeypatch.setitem(connections.settings["tenant"]["OPTIONS"], "jurisdiction", "eu")
    assert tenants() is None


def test_a_site_without_a_relay_says_that_its_tenants_need_one(client, monkeypatch):
    monkeypatch.setitem(connections.settings["tenant"], "HOST", "")
    response = client.get("/healthz")
    assert errors(response) == {"directory": None, "tenants": "relay_not_configured"}


def test_a_d1_without_tables_is_not_migrated(client, monkeypatch):
    name = connections.settings["default"]["NAME"]
    monkeypatch.setitem(connections.settings["default"], "NAME", name[:-1] + "6")
    response = client.get("/healthz")
    assert errors(response) == {"directory": "not_migrated", "tenants": None}


def test_an_unknown_d1_id_is_named_as_such(client, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "NAME", "nobodys")
    assert errors(client.get("/healthz"))["directory"] == "unknown_database"


def test_a_flood_asks_the_databases_once(monkeypatch):
    asked = []
    entered, go_on = threading.Event(), threading.Event()

    def slow():
        asked.append(1)
        entered.set()
        go_on.wait(60)

    shared = Health({"slow": slow})
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(shared.report())) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert (len(asked), len(reports)) == (1, 20)
    assert all(report.ok for report in reports)


def test_one_question_a_second_reaches_the_databases_however_many_are_asked():
    asked = []
    shared = Health({"one": lambda: asked.append(1)})
    for rounds in (1, 2):
        for age in (0.0, 0.9):
            report = shared.report()
            report.made = monotonic() - age
            assert shared.report() is report
        assert len(asked) == rounds
        report.made = monotonic() - 1.1


def test_a_probe_that_hangs_is_a_timeout():
    hanging = threading.Event()
    shared = Health({"one": lambda: hanging.wait(60)}, deadline=0.1)
    assert shared.report().faults == {"one": TIMEOUT}
    hanging.set()


def test_a_change_is_logged_once(caplog):
    answers = [UNREACHABLE, UNREACHABLE, None]
    shared = Health({"one": lambda: answers.pop(0)})
    with caplog.at_level(logging.INFO, "project.health"):
        for _ in range(3):
            shared.report()
            shared._report.made -= 60
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert UNREACHABLE.text in caplog.text


def test_asgi_is_answered_too():
    response = asyncio.run(AsyncClient().get("/healthz"))
    assert response.status_code == 200
