"""Writes whose answers were lost or delayed: each is there once or not at all, and the caller knows which."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.relay import RelayTransport
from do_bridge.driver.relay_session import RelaySession
from do_bridge.driver.sql import prepare
from do_bridge.driver.transport import Deadline

from .proxy import Proxy

Items = Callable[[], list[Any]]
INSERT = "INSERT INTO item (v) VALUES (%s) RETURNING id"


@pytest.fixture
def cuttable(proxied: RelayTransport, tenant: driver.Connection, items: Items) -> driver.Connection:
    """A connection to the object through the proxy, its session already open."""
    connection = driver.connect(proxied, tenant.database, timeout=10)
    connection.execute("SELECT 1")
    return connection


def put(connection: driver.Connection, value: Any) -> int:
    """Insert one row and return its primary key."""
    (key,) = connection.execute(INSERT, [value]).fetchone() or (None,)
    assert isinstance(key, int)
    return key


def keys_in(connection: driver.Connection) -> list[Any]:
    """Return the rows of the object's table of keys."""
    return connection.execute("SELECT client, n, answer FROM _do_bridge_keys ORDER BY at").fetchall()


def ask(connection: driver.Connection, **message: Any) -> Any:
    """Send one request of the protocol by itself."""
    transport = connection.transport
    assert isinstance(transport, RelayTransport)
    deadline = Deadline(10)
    session = transport.pool.acquire(deadline)
    try:
        return session.request({"db": connection.database, **message}, deadline)
    finally:
        transport.pool.release(session)


def outcome(connection: driver.Connection, key: str) -> str:
    return str(ask(connection, op="outcome", key=key)[0].rows[0][0])


def insert(connection: driver.Connection, key: str, value: int, **more: Any) -> Any:
    """Insert one row under a key of the test's own."""
    step = {"sql": f"INSERT INTO item (v) VALUES ({value}) RETURNING id", "count": True}
    return ask(connection, op="batch", key=key, steps=[step], **more)[0]


def new_client() -> str:
    return secrets.token_hex(16)


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
    with pytest.raises(driver.IntegrityError) as caught:
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
    with pytest.raises(driver.OperationalError, match="was carried out, once") as caught:
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
    connection = driver.connect(proxied, tenant.database, timeout=10, write_keys=False)
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


def test_a_commit_that_comes_too_late_is_known_not_to_be_done(
    proxied: RelayTransport, tenant: driver.Connection, proxy: Proxy, items: Items
) -> None:
    connection = driver.connect(proxied, tenant.database, timeout=10, lease=0.5)
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
        assert asked.wait(10)
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


def test_reads_carry_no_key_and_a_client_has_one_row(tenant: driver.Connection, items: Items) -> None:
    ((_, before, _),) = keys_in(tenant)
    for value in range(3):
        put(tenant, value)
        tenant.execute("SELECT v FROM item")
    tenant.begin()
    put(tenant, 3)
    tenant.commit()
    (client, n, answer), *others = keys_in(tenant)
    # The last six digits are left to chance.
    assert (len(client), n // 10**6 - before // 10**6, answer, others) == (32, 4, "-", [])


def test_a_closed_connection_leaves_its_name_to_the_next(
    relay: RelayTransport, tenant: driver.Connection, items: Items
) -> None:
    for value in range(5):
        with driver.connect(relay, tenant.database) as connection:
            put(connection, value)
    assert len(keys_in(tenant)) == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_writes_under_a_name_of_its_own(tenant: driver.Connection, items: Items) -> None:
    put(tenant, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            put(tenant, 2)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    put(tenant, 3)
    assert items() == [1, 2, 3]


def test_the_same_number_of_two_clients_is_two_writes(tenant: driver.Connection, items: Items) -> None:
    first, second = new_client(), new_client()
    assert insert(tenant, f"{first}:7", 1).rows == [[1]]
    assert insert(tenant, f"{second}:7", 2).rows == [[2]]
    assert insert(tenant, f"{second}:7", 2).rows == [[2]]
    assert items() == [1, 2]


def test_two_copies_of_a_write_at_the_same_time_run_once(
    local_worker: Any, tenant: driver.Connection, items: Items
) -> None:
    key = f"{new_client()}:1"
    answers: list[Any] = []

    def send() -> None:
        with driver.connect(tenant.transport, tenant.database) as connection:
            answers.append(insert(connection, key, 1).rows)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[[1]]] * 4
    assert items() == [1]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "1",
        "a" * 32,
        "a" * 32 + ":",
        "a" * 32 + ":0",
        "a" * 32 + ":-1",
        "a" * 32 + ":1.5",
        "a" * 32 + ":" + "9" * 16,
        "A" * 32 + ":1",
        "a" * 31 + "':1",
        "a" * 33 + ":1",
        "a" * 5_000_000,
        "a" * 32 + ":1\n",
        7,
        None,
        {"client": "a" * 32, "n": 1},
    ],
    ids=lambda key: str(key)[:40],
)
def test_a_key_of_another_form_is_refused_and_nothing_run(
    tenant: driver.Connection, items: Items, key: Any
) -> None:
    requests: list[dict[str, Any]] = [
        {"op": "batch", "key": key, "steps": [{"sql": "DELETE FROM item"}]},
        {"op": "outcome", "key": key},
        {"op": "tx", "tx": "k", "begin": True, "steps": [{"commit": True, "key": key}]},
    ]
    for request in requests:
        with pytest.raises(driver.InterfaceError, match="key must be 32 hexadecimal") as caught:
            ask(tenant, **request)
        assert caught.value.effect == "none"
        assert "aaaa" not in str(caught.value)


def test_keys_are_for_objects_alone(relay: RelayTransport) -> None:
    connection = driver.connect(relay, "d1:d0b41d9e-0000-4000-8000-000000000008")
    requests: list[dict[str, Any]] = [{"op": "batch", "steps": [{"sql": "SELECT 1"}]}, {"op": "outcome"}]
    for request in requests:
        with pytest.raises(driver.InterfaceError, match="keys are for objects alone"):
            ask(connection, key=f"{new_client()}:1", **request)


def test_an_outcome_is_final(tenant: driver.Connection, items: Items) -> None:
    client = new_client()
    assert insert(tenant, f"{client}:3", 1).rows == [[1]]
    assert outcome(tenant, f"{client}:3") == "done"
    assert outcome(tenant, f"{client}:2") == "unknown"
    assert outcome(tenant, f"{client}:4") == "none"
    with pytest.raises(driver.OperationalError, match="given up") as caught:
        insert(tenant, f"{client}:4", 2)
    assert (caught.value.kind, caught.value.effect) == ("stale_key", "none")
    with pytest.raises(driver.OperationalError, match="gone on") as caught:
        insert(tenant, f"{client}:3", 1)
    assert (caught.value.kind, caught.value.effect) == ("stale_key", "unknown")
    assert outcome(tenant, f"{client}:4") == "none"
    assert insert(tenant, f"{client}:5", 5).rows == [[2]]
    assert items() == [1, 5]


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


def test_keys_older_than_a_day_go_when_a_new_client_comes(tenant: driver.Connection, items: Items) -> None:
    for value in range(120):
        insert(tenant, f"{new_client()}:1", value)
    assert len(keys_in(tenant)) == 121
    old = "UPDATE _do_bridge_keys SET at = at - 86400001 WHERE n = 1 AND client NOT IN (%s)"
    fresh = new_client()
    insert(tenant, f"{fresh}:1", 500)
    tenant.execute(old, [fresh])
    assert len(keys_in(tenant)) == 122
    insert(tenant, f"{new_client()}:1", 501)
    assert len(keys_in(tenant)) == 3
    assert len(items()) == 122


def test_a_write_whose_schema_was_changed_after_it_is_known_when_it_comes_again(
    tenant: driver.Connection, items: Items
) -> None:
    key = f"{new_client()}:1"
    steps = [
        {"sql": "INSERT INTO item (v) VALUES (1) RETURNING id"},
        {"sql": "CREATE TABLE _do_bridge_meta (key TEXT PRIMARY KEY, value TEXT)"},
        {"sql": "INSERT INTO _do_bridge_meta VALUES ('schema', 'ab')"},
    ]
    for _ in range(2):
        answers = ask(tenant, op="batch", key=key, expect="", steps=steps)
        assert [answer.rows for answer in answers] == [[[1]], [], []]
    with pytest.raises(driver.OperationalError) as caught:
        insert(tenant, key.replace(":1", ":2"), 2, expect="cd")
    assert caught.value.kind == "schema_mismatch"
    assert insert(tenant, key.replace(":1", ":2"), 2, expect="ab").rows == [[2]]


def test_a_write_that_drops_the_keys_is_known_all_the_same(tenant: driver.Connection, items: Items) -> None:
    put(tenant, 1)
    key = f"{new_client()}:1"
    steps = [{"sql": "INSERT INTO item (v) VALUES (2)"}, {"sql": "DROP TABLE _do_bridge_keys"}]
    for _ in range(2):
        assert len(ask(tenant, op="batch", key=key, steps=steps)) == 2
    assert items() == [1, 2]


def test_an_older_worker_gets_no_keys_and_no_repetition(
    cuttable: driver.Connection, proxy: Proxy, items: Items
) -> None:
    cuttable.transport.pool._idle[-1].knows_keys = False  # type: ignore[attr-defined]
    put(cuttable, 1)
    cuttable.begin()
    put(cuttable, 2)
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the commit is unknown"):
        cuttable.commit()
    cuttable.rollback()
    cuttable.execute("SELECT 1")
    cuttable.transport.pool._idle[-1].knows_keys = False  # type: ignore[attr-defined]
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown"):
        put(cuttable, 3)
    assert items() == [1, 2, 3]


def test_a_write_is_not_repeated_at_a_worker_that_is_older_than_the_one_that_lost_it(
    cuttable: driver.Connection, proxy: Proxy, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = RelaySession.__init__

    def older(self: RelaySession, *args: Any, **options: Any) -> None:
        started(self, *args, **options)
        self.knows_keys = False

    monkeypatch.setattr(RelaySession, "__init__", older)
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown") as caught:
        put(cuttable, 1)
    assert caught.value.effect == "unknown"
    assert items() == [1]


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
        proxy.stalled = False
        worker.start()
        for thread in threads:
            thread.join()
        assert sorted(found, key=str) == [1, None]
        for connection in (writer, committer):
            assert connection.execute("SELECT v FROM item").fetchall() == [(1,)]
        for transport in (direct, *transports):
            transport.close()


def test_the_rows_that_a_key_keeps_are_json(tenant: driver.Connection, items: Items) -> None:
    tenant.execute("INSERT INTO item (v) VALUES (%s) RETURNING v", ['two\nlines \u2028 and " quotes'])
    ((_, _, answer),) = keys_in(tenant)
    assert "\n" not in answer
    assert json.loads(answer)["rows"] == [['two\nlines \u2028 and " quotes']]


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
