"""The token is in no traceback page, log, representation or process list, whatever goes wrong where."""

import logging
import os
import sys
from pathlib import Path

import pytest
from django.db import connections
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.driver.transports.secret import Secret, without_frames
from do_bridge.tenancy.tenants import lookup
from tests.driver.proxy import Proxy

TOKEN = "a-very-secret-token-of-this-test"


@pytest.fixture
def all_logs(caplog):
    """What all loggers say at DEBUG, those included that have a level of their own by default."""
    caplog.set_level(logging.DEBUG)
    for name in ("django", "django.db.backends", "websockets", "httpx", "httpcore", "asyncio", "do_bridge"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def traceback_page(settings, error):
    """The page and the mail that Django makes of an exception while DEBUG is on."""
    settings.DEBUG = True
    request = RequestFactory().get("/")
    reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


def connect_relay(url):
    return driver.connect(RelayTransport(url, TOKEN, connect_timeout=0.5), "do:test/token", timeout=1.0)


def dead_relay(worker):
    connect_relay("http://127.0.0.1:9").execute("SELECT 1")


def wrong_token(worker):
    connect_relay(worker.url).execute("SELECT 1")


def silent_relay(worker):
    with Proxy(worker.port) as proxy:
        proxy.stalled = True
        connect_relay(proxy.url).execute("SELECT 1")


def no_such_relay(worker):
    connect_relay(worker.url + "/elsewhere").execute("SELECT 1")


def bad_url(worker):
    connect_relay("http://[").execute("SELECT 1")


def dead_api(worker):
    driver.connect(RestTransport("http://127.0.0.1:9", TOKEN), "d1:x", timeout=1.0).execute("SELECT 1")


def refusing_api(worker):
    driver.connect(RestTransport(worker.api_base, TOKEN), "d1:", timeout=1.0).execute("SELECT 1")


def silent_api(worker):
    with Proxy(worker.port) as proxy:
        proxy.stalled = True
        base = proxy.url + worker.api_base.removeprefix(worker.url)
        driver.connect(RestTransport(base, TOKEN), "d1:x", timeout=0.5).execute("SELECT 1")


def cut_api(worker):
    with Proxy(worker.port) as proxy:
        proxy.lose_answers = 99
        base = proxy.url + worker.api_base.removeprefix(worker.url)
        driver.connect(RestTransport(base, TOKEN), "d1:x", timeout=0.5).execute("INSERT INTO t VALUES (1)")


def token_in_no_header(worker):
    driver.connect(RestTransport(worker.api_base, TOKEN + "ä"), "d1:x").execute("SELECT 1")


FAULTS = [
    dead_relay,
    wrong_token,
    silent_relay,
    no_such_relay,
    bad_url,
    dead_api,
    refusing_api,
    silent_api,
    cut_api,
    token_in_no_header,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_fault_of_the_driver_shows_the_token(local_worker, settings, all_logs, fault):
    with pytest.raises((driver.Error, ValueError)) as caught:
        fault(local_worker)
    page = traceback_page(settings, caught.value)
    assert fault.__name__ in page  # the frames are shown, with their variables
    assert TOKEN not in page.replace("&#x27;", "'")
    assert TOKEN not in all_logs.text
    assert TOKEN not in repr(caught.value)


def broken_sql(settings):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


def wrong_option(settings):
    values = {**connections["default"].settings_dict, "OPTIONS": {"transport": "relay", "speed": 9}}
    wrapper = type(connections["default"])(values, "other")
    wrapper.get_connection_params()


def unknown_transport(settings):
    values = {**connections["default"].settings_dict, "OPTIONS": {"transport": "pigeon"}}
    type(connections["default"])(values, "other").get_connection_params()


@pytest.mark.parametrize("fault", [broken_sql, wrong_option, unknown_transport])
def test_no_fault_of_an_engine_shows_the_token(site, local_worker, settings, all_logs, fault):
    error = None
    try:
        fault(settings)
    except Exception:
        error = sys.exc_info()[1]
    page = traceback_page(settings, error)
    assert "PASSWORD" in page or fault is broken_sql
    assert local_worker.token not in page
    assert local_worker.token not in all_logs.text


def test_the_page_of_a_failing_view_shows_no_secret_of_the_settings_or_the_environment(
    site, client, settings, all_logs, local_worker, monkeypatch
):
    settings.DEBUG = True
    client.raise_request_exception = False
    lookup.forget()
    connection = connections["tenant/acme"]
    connection.close()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "http://127.0.0.1:9")
        response = client.get("/t/acme/", **os.environ)  # as Django's own server puts them into META
        connection.close()
    assert response.status_code == 500
    page = response.content.decode()
    assert "get_connection_params" in page or "could not be reached" in page
    for secret in (local_worker.token, settings.SECRET_KEY):
        assert secret not in page
        assert secret not in all_logs.text


@pytest.mark.parametrize("is_reachable", [True, False])
def test_no_page_of_the_admin_shows_the_token(site, sign_in, local_worker, monkeypatch, is_reachable):
    client = sign_in("root")
    client.raise_request_exception = False
    with monkeypatch.context() as patched:
        if not is_reachable:
            patched.setitem(connections["tenant/acme"].settings_dict, "HOST", "http://127.0.0.1:9")
        for path in (
            "/admin/databases/",
            "/admin/databases/shared/",
            "/admin/databases/tenant/acme/",
            "/admin/databases/tenant/acme/facts.json",
            "/admin/databases/tenant/acme/sql/?sql=SELECT+1&run=run",
            "/t/acme/admin/",
        ):
            assert local_worker.token not in client.get(path).content.decode(), path
    connections["tenant/acme"].close()


def test_nothing_that_holds_the_token_shows_it(local_worker):
    relay, rest = RelayTransport(local_worker.url, TOKEN), RestTransport("http://127.0.0.1:9", TOKEN)
    connection = driver.connect(relay, "do:test/token")
    shown = [relay, rest, vars(relay), vars(rest), vars(relay.pool), connection, vars(connection)]
    assert TOKEN not in "".join(map(repr, shown))


def test_a_secret_is_sent_as_it_is():
    secret = Secret(TOKEN)
    assert f"{secret}" == str(secret) == TOKEN
    assert secret == TOKEN
    assert {"a": [secret]} != {"a": ["'***'"]}
    assert repr({"a": [secret]}) == "{'a': ['***']}"


def test_an_error_is_passed_on_without_the_frames_and_causes_that_hold_requests():
    try:
        try:
            raise ValueError("a frame that holds a request")
        except ValueError as inner:
            raise OSError("lost") from inner
    except OSError as error:
        bared = without_frames(error)
    assert (str(bared), bared.__traceback__, bared.__cause__, bared.__context__) == ("lost", None, None, None)


def test_no_command_line_holds_a_token(local_worker):
    connections["default"].settings_dict  # noqa: B018 - the wrapper exists, as in a site that runs
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_bytes())
        except OSError:
            continue  # it has ended meanwhile
    assert any(str(local_worker.port).encode() in line for line in lines)
    assert not any(local_worker.token.encode() in line for line in lines)
