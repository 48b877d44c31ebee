"""A serving process opens relay sessions before its first request, and a command none ahead of need."""

import os

import pytest

from do_bridge import warm_up
from tests import forking


@pytest.fixture
def environment(proxy):
    return os.environ | {"RELAY_URL": proxy.url}


@pytest.mark.parametrize("module", ["project.wsgi", "project.asgi"])
def test_a_serving_process_opens_a_session_before_its_first_request(environment, proxy, module):
    program = f"""
import {module}
from do_bridge.driver.transports.relay import _transports
import time
(transport,) = _transports.values()
while not transport.pool._idle:
    time.sleep(0.01)
"""
    done = forking.run(["-c", program], env=environment)
    assert done.returncode == 0, done.stderr
    assert proxy.accepted == 1


def test_a_serving_process_starts_and_ends_without_a_relay(environment, proxy):
    proxy.refusing = True
    done = forking.run(["-c", "import project.wsgi"], env=environment)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_command_opens_no_session_ahead(environment, proxy):
    done = forking.run(["manage.py", "check"], env=environment)
    assert done.returncode == 0, done.stderr
    assert proxy.accepted == 0


def test_a_test_run_opens_no_session_ahead(monkeypatch):
    def fail(*_):
        raise AssertionError("a session was wanted")

    monkeypatch.setattr("do_bridge.driver.transports.relay_pool.RelayPool.keep_spares", fail)
    warm_up()
