"""Commits whose answers were lost or delayed: the caller knows whether the transaction stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.sql import prepare
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession

from .keyed import INSERT, Items, ask, keys_in, new_client, outcome, put
from .proxy import Proxy


@pytest.mark.parametrize("savepoint", [False, True])
def test_a_commit_whose_answer_was_lost_is_known_to_be_done(
    cuttable: driver.Connection, proxy: Proxy, items: Items, savepoint: bool
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    if savepoint:
        cuttable.savepoint("a")
        put(cuttable, 2)
        cuttable.release("a")
    proxy.lose_answers = 1
    cuttable.commit()
    assert (proxy.lost, cuttable.in_transaction) == (1, False)
    assert items() == ([1, 2] if savepoint else [1])


def test_a_commit_that_was_interrupted_is_not_said_to_be_rolled_back(
    cuttable: driver.Connection, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    (session,) = cuttable.transport.pool._sessions  # type: ignore[attr-defined]
    receive = session._socket.recv

    def interrupted(**options: Any) -> None:
        receive(**options)
        raise KeyboardInterrupt

    monkeypatch.setattr(session._socket, "recv", interrupted)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        cuttable.commit()
    # As Django does, whatever came of the commit.
    cuttable.commit()
    assert not cuttable.in_transaction
    put(cuttable, 2)
    assert items() == [1, 2]


def test_a_commit_that_comes_too_late_is_known_not_to_be_done(
    proxied: RelayTransport, tenant: driver.Connection, proxy: Proxy, items: Items
) -> None:
    connection = driver.connect(proxied, tenant.database, timeout=60, lease=0.5)
    connection.begin()
    put(connection, 1)
    proxy.delay_requests = 1
    with pytest.raises(driver.OperationalError, match="commit was not carried out") as caught:
        connection.commit()
    assert caught.value.effect == "ended"
    assert "unknown" not in str(caught.value)
    connection.rollback()
    (answer,) = proxy.deliver()
    assert b'"kind":"lease_expired"' in answer
    put(connection, 2)
    assert items() == [2]


def test_a_commit_that_arrives_while_its_outcome_is_asked_for_is_done(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    proxy.delay_requests = 1
    asked = threading.Event()
    request = RelaySession.request

    def noted(self: RelaySession, message: dict[str, Any], deadline: Deadline) -> Any:
        if message["op"] == "outcome":
            asked.set()
        return request(self, message, deadline)

    def arrive() -> None:
        assert asked.wait(60)
        proxy.deliver()

    thread = threading.Thread(target=arrive)
    thread.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RelaySession, "request", noted)
        # The object answers the question when the transaction has ended, one way or the other.
        cuttable.commit()
    thread.join()
    assert items() == [1]


def test_a_commit_whose_outcome_nobody_tells_in_time_is_unknown(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.begin()
    put(cuttable, 1)
    cuttable.timeout = 0.5
    proxy.delay_requests = 1
    with pytest.raises(driver.OperationalError, match="outcome of the commit is unknown") as caught:
        cuttable.commit()
    assert caught.value.effect == "unknown"
    cuttable.rollback()
    proxy.deliver()
    assert items() == [1]


def test_a_lost_commit_of_a_transaction_that_only_read_is_no_error(
    cuttable: driver.Connection, tenant: driver.Connection, proxy: Proxy
) -> None:
    before = keys_in(tenant)
    cuttable.begin()
    cuttable.execute("SELECT v FROM item")
    proxy.lose_answers = 1
    cuttable.commit()
    assert keys_in(cuttable) == before


def test_a_bulk_write_in_several_pieces_is_there_once_or_not_at_all(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    transport = cuttable.transport
    transport.max_request = lambda deadline: 400_000  # type: ignore[method-assign]
    statements = [prepare(INSERT, [str(n) * 100_000]) for n in range(6)]
    request = RelaySession.request
    commits: list[bool] = []

    def lose(lost: Callable[[dict[str, Any]], bool]) -> Callable[..., Any]:
        def sent(self: RelaySession, message: dict[str, Any], deadline: Deadline) -> Any:
            proxy.lose_answers = int(lost(message))
            return request(self, message, deadline)

        return sent

    def is_second(message: dict[str, Any]) -> bool:
        return message["op"] == "tx" and "begin" not in message

    def is_commit(message: dict[str, Any]) -> bool:
        found = "commit" in message.get("steps", [{}])[-1]
        commits.append(found)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RelaySession, "request", lose(is_second))
        with pytest.raises(driver.OperationalError, match="rolled back") as caught:
            cuttable.run_many(statements)
        assert caught.value.effect == "ended"
        assert items() == []
        patched.setattr(RelaySession, "request", lose(is_commit))
        results = cuttable.run_many(statements)
    assert any(commits)
    assert [len(result.rows) for result in results] == [1] * 6
    assert len(items()) == 6


def test_a_commit_under_a_key_that_was_given_up_is_rolled_back(
    tenant: driver.Connection, items: Items
) -> None:
    client = new_client()
    assert outcome(tenant, f"{client}:1") == "none"
    steps = [{"sql": "INSERT INTO item (v) VALUES (1)"}, {"commit": True, "key": f"{client}:1"}]
    with pytest.raises(driver.OperationalError, match="rolled back") as caught:
        ask(tenant, op="tx", tx="late", begin=True, steps=steps)
    assert (caught.value.kind, caught.value.effect) == ("stale_key", "ended")
    assert items() == []
