"""Writes whose answers were lost or delayed: each is there once or not at all, and the caller knows which."""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession

from .keyed import INSERT, Items, keys_in, put
from .proxy import Proxy


def test_a_write_whose_answer_was_lost_is_there_once_and_gives_its_primary_key(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    put(cuttable, 1)
    proxy.lose_answers = 1
    with driver.count_trips() as trips:
        cursor = cuttable.execute(INSERT, [2])
    assert (cursor.fetchall(), cursor.rowcount, cursor.lastrowid) == ([(2,)], 1, 2)
    assert (proxy.lost, trips.count) == (1, 2)
    assert items() == [1, 2]


def test_a_batch_whose_answer_was_lost_twice_is_there_once(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    statements = [(INSERT, [n]) for n in range(3)] + [("UPDATE item SET v = v + 10", None)]
    request, losses = RelaySession.request, [0, 1, 1]

    def lose(self: RelaySession, *args: Any) -> Any:
        # One at a time: the answer to the second handshake must pass.
        proxy.lose_answers = losses.pop()
        return request(self, *args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RelaySession, "request", lose)
        results = cuttable.execute_batch(statements)
    assert [result.rows for result in results] == [[(1,)], [(2,)], [(3,)], []]
    assert results[-1].rowcount == 3
    assert (proxy.lost, proxy.accepted) == (2, 3)
    assert items() == [10, 11, 12]


def test_a_delayed_write_that_arrives_after_its_repetition_is_not_run_again(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    proxy.delay_requests = 1
    assert put(cuttable, 1) == 1
    (answer,) = proxy.deliver()
    assert b'"rows":[[1]]' in answer
    assert items() == [1]


def test_a_delayed_write_that_arrives_after_the_next_one_is_refused(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    proxy.delay_requests = 1
    put(cuttable, 1)
    cuttable.execute("UPDATE item SET v = 2")
    (answer,) = proxy.deliver()
    assert b'"kind":"stale_key"' in answer
    assert items() == [2]


def test_a_delayed_write_whose_repetition_failed_never_runs(
    cuttable: driver.Connection, tenant: driver.Connection, proxy: Proxy, items: Items
) -> None:
    put(tenant, 1)
    proxy.delay_requests = 1
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed") as caught:
        put(cuttable, 1)
    assert caught.value.effect == "none"
    tenant.execute("DELETE FROM item")
    (answer,) = proxy.deliver()
    assert b'"kind":"stale_key"' in answer
    assert items() == []


def test_a_write_that_failed_fails_the_same_way_when_its_answer_was_lost(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    put(cuttable, 1)
    proxy.lose_answers = 1
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed"):
        put(cuttable, 1)
    put(cuttable, 2)
    assert items() == [1, 2]


def test_an_answer_too_large_to_be_kept_is_said_to_be_lost_and_the_write_to_be_done(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="was carried out once") as caught:
        cuttable.execute("INSERT INTO item (v) VALUES (%s) RETURNING v", ["x" * 300_000])
    assert (caught.value.kind, caught.value.effect) == ("answer_lost", "done")
    assert [len(value) for value in items()] == [300_000]


def test_a_write_answered_by_a_fault_of_the_runtime_is_asked_for(
    tenant: driver.Connection, items: Items
) -> None:
    # This resets the object each time that it runs.
    with pytest.raises(driver.Error, match="will not be") as caught:
        tenant.execute("INSERT OR ROLLBACK INTO item (id, v) VALUES (1, 1), (1, 2)")
    assert caught.value.effect == "none"
    assert items() == []


def test_where_the_time_is_over_the_outcome_is_unknown(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.timeout = 0.5
    proxy.stalled = True
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown") as caught:
        put(cuttable, 1)
    assert caught.value.effect == "unknown"
    proxy.stalled = False
    cuttable.timeout = 10
    put(cuttable, 2)
    assert items() == [1, 2]


def test_a_write_on_a_connection_that_fell_silent_is_given_up_in_time_and_never_arrives(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.timeout = 4
    proxy.hold_requests = 1
    with pytest.raises(driver.OperationalError, match="was not carried out and will not be") as caught:
        put(cuttable, 1)
    assert caught.value.effect == "none"
    (answer,) = proxy.deliver()
    assert b'"kind":"stale_key"' in answer
    assert items() == []


@pytest.mark.parametrize("work", ["write", "commit"])
def test_an_answer_that_never_came_is_asked_for_before_the_time_is_over(
    cuttable: driver.Connection, proxy: Proxy, items: Items, work: str
) -> None:
    if work == "commit":
        cuttable.begin()
        put(cuttable, 1)
    cuttable.timeout = 4
    proxy.swallow_answers = 1
    assert (cuttable.commit() if work == "commit" else put(cuttable, 1)) == {"write": 1}.get(work)
    assert items() == [1]


def test_without_keys_the_outcome_of_a_lost_write_and_a_lost_commit_is_unknown(
    proxied: RelayTransport, tenant: driver.Connection, proxy: Proxy, items: Items
) -> None:
    before = keys_in(tenant)
    connection = driver.connect(proxied, tenant.database, timeout=60, write_keys=False)
    connection.execute("SELECT 1")
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown") as caught:
        put(connection, 1)
    assert caught.value.effect == "unknown"
    connection.begin()
    put(connection, 2)
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the commit is unknown"):
        connection.commit()
    connection.rollback()
    assert items() == [1, 2]
    assert keys_in(tenant) == before


def test_writes_and_commits_are_there_once_after_the_runtime_was_killed_before_its_answer(
    own_worker: Callable[..., Any],
) -> None:
    worker = own_worker().start()
    with Proxy(worker.port) as proxy:
        # A session each, open before the proxy stalls.
        transports = [RelayTransport(proxy.url, worker.token) for _ in range(2)]
        writer, committer = (driver.connect(each, "do:test/killed", timeout=110) for each in transports)
        committer.database += "/committer"
        for connection in (writer, committer):
            connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
        committer.begin()
        put(committer, 1)
        proxy.stalled = True
        found: list[Any] = []

        def work(write: Callable[[], Any]) -> None:
            try:
                found.append(write())
            except driver.Error as error:
                found.append(error)

        threads = [
            threading.Thread(target=work, args=[write])
            for write in (lambda: put(writer, 1), committer.commit)
        ]
        for thread in threads:
            thread.start()
        direct = RelayTransport(worker.url, worker.token)
        for connection in (writer, committer):
            with driver.connect(direct, connection.database) as other:
                while other.execute("SELECT count(*) FROM item").fetchone() != (1,):
                    pass
        for pid in worker.workerd_pids():
            os.kill(pid, signal.SIGKILL)
        worker.stop()
        proxy.cut()
        proxy.release()
        worker.start()
        for thread in threads:
            thread.join()
        assert sorted(found, key=str) == [1, None]
        for connection in (writer, committer):
            assert connection.execute("SELECT v FROM item").fetchall() == [(1,)]
        for transport in (direct, *transports):
            transport.close()


def test_many_writes_under_faults_are_there_exactly_as_told(
    proxied: RelayTransport, tenant: driver.Connection, proxy: Proxy
) -> None:
    seed = int(os.environ.get("KEYS_SEED") or secrets.randbelow(2**32))
    chance = random.Random(seed)  # noqa: S311 - no secret
    connection = driver.connect(proxied, tenant.database, timeout=30, lease=0.3)
    # Where a value may be there twice, so that it would be seen.
    connection.execute("CREATE TABLE many (v)")
    insert = "INSERT INTO many VALUES (%s)"
    told, lost = [], 0
    for value in range(int(os.environ.get("KEYS_ROUNDS", "60"))):
        in_transaction = chance.random() < 0.4
        if in_transaction:
            connection.begin()
            connection.execute(insert, [value])
        fault = chance.choice(["none", "lose", "delay", "late"])
        proxy.lose_answers = int(fault == "lose")
        proxy.delay_requests = int(fault == "delay")
        if fault == "late":
            proxy.deliver()
        try:
            if in_transaction:
                connection.commit()
            else:
                connection.execute(insert, [value])
            told.append(value)
        except driver.OperationalError as error:
            assert error.effect in ("none", "ended"), f"seed {seed}"
            lost += 1
            connection.rollback()
    proxy.deliver()
    rows = tenant.execute("SELECT v FROM many ORDER BY rowid").fetchall()
    assert [value for (value,) in rows] == told, f"seed {seed}"
    assert told
