"""Tokens are changed without a failed request, reach only what they are for, and end with their session."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

OLD, NEW, TENANTS, DIRECTORY = (letter * 40 for letter in "ontd")
D1 = "d1:d0b41d9e-0000-4000-8000-000000000007"


def connect(worker: Any, token: str, database: str = "do:test/gate/tokens") -> driver.Connection:
    return driver.connect(RelayTransport(worker.url, token), database)


def test_a_token_is_changed_without_a_failed_request(own_worker: Callable[..., Any]) -> None:
    worker = own_worker(token=OLD).start()
    before, after = connect(worker, OLD), connect(worker, NEW)
    before.execute("CREATE TABLE change (note)")
    with pytest.raises(driver.OperationalError, match="Set RELAY_TOKEN to the value of the Worker's secret"):
        after.execute("INSERT INTO change VALUES ('too early')")

    worker.token, worker.tokens = NEW, {"RELAY_TOKEN_PREVIOUS": OLD}
    worker.restart()
    before.execute("INSERT INTO change VALUES ('old, beside the new one')")
    after.execute("INSERT INTO change VALUES ('new, beside the old one')")

    worker.tokens = {}
    worker.restart()
    after.execute("INSERT INTO change VALUES ('new alone')")
    with pytest.raises(driver.OperationalError, match="RELAY_TOKEN") as caught:
        before.execute("INSERT INTO change VALUES ('too late')")
    assert (caught.value.http_status, caught.value.effect) == (401, "none")
    assert OLD not in str(caught.value)
    notes = [note for (note,) in after.execute("SELECT note FROM change ORDER BY rowid").fetchall()]
    assert notes == ["old, beside the new one", "new, beside the old one", "new alone"]


def test_a_scoped_token_gets_a_clear_error_elsewhere_and_an_old_session_is_replaced_unseen(
    worker_copy: Callable[..., Any],
) -> None:
    tokens = {"RELAY_TOKEN_TENANTS": TENANTS, "RELAY_TOKEN_DIRECTORY": DIRECTORY}
    worker = worker_copy({"SESSION_MAX_SECONDS": 1}, token=NEW, tokens=tokens).start()
    for token, own, other in (
        (TENANTS, "do:test/gate/tokens", D1),
        (DIRECTORY, D1, "do:test/gate/tokens"),
    ):
        assert connect(worker, token, own).execute("SELECT 1").fetchall() == [(1,)]
        with pytest.raises(driver.OperationalError, match="RELAY_TOKEN_TENANTS opens the tenants") as caught:
            connect(worker, token, other).execute("CREATE TABLE outside (id)")
        assert (caught.value.kind, caught.value.effect) == ("forbidden", "none")
        whole = connect(worker, NEW, other)
        assert whole.execute("SELECT count(*) FROM sqlite_master WHERE name = 'outside'").fetchone() == (0,)

    connection = connect(worker, NEW)
    connection.execute("CREATE TABLE age (id)")
    first = connection.transport.pool._idle[-1]  # type: ignore[attr-defined]
    first._expires = float("inf")  # so that the relay has to say it
    end = time.monotonic() + 30
    written = 0
    while not first.retired and time.monotonic() < end:
        connection.execute("INSERT INTO age VALUES (1)")
        written += 1
    assert first.retired
    assert not first.usable
    assert connection.execute("SELECT count(*) FROM age").fetchone() == (written,)
    idle = connection.transport.pool._idle[-1]  # type: ignore[attr-defined]
    while idle.usable and time.monotonic() < end:
        time.sleep(0.05)
    assert not idle.usable, "the relay closes what is long past its time, also where nothing is sent"
    with driver.count_trips() as trips:
        assert connection.execute("SELECT count(*) FROM age").fetchone() == (written,)
    assert trips.count == 1


def test_a_client_leaves_a_session_before_the_relay_has_to_refuse_it(local_worker: Any) -> None:
    connection = connect(local_worker, local_worker.token)
    connection.execute("SELECT 1")
    pool = connection.transport.pool  # type: ignore[attr-defined]
    first = pool._idle[-1]
    assert 3000 < first._expires - time.monotonic() <= 3240
    first._expires = time.monotonic()
    with driver.count_trips() as trips:
        connection.execute("SELECT 1")
    assert trips.count == 1
    assert pool._idle[-1] is not first
    pool.close()
