"""The keys by which an object knows a write again: their form, who has which, and how long they are kept."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport

from .keyed import Items, ask, insert, keys_in, new_client, outcome, put


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
        with pytest.raises(driver.InterfaceError, match="keys are only for objects"):
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
    with pytest.raises(driver.OperationalError, match="The schema of the") as caught:
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


def test_the_rows_that_a_key_keeps_are_json(tenant: driver.Connection, items: Items) -> None:
    tenant.execute("INSERT INTO item (v) VALUES (%s) RETURNING v", ['two\nlines \u2028 and " quotes'])
    ((_, _, answer),) = keys_in(tenant)
    assert "\n" not in answer
    assert json.loads(answer)["rows"] == [['two\nlines \u2028 and " quotes']]


@pytest.mark.parametrize("end", ["write", "commit"])
def test_a_write_whose_time_is_over_before_it_is_sent_is_told_how_long_that_was(
    tenant: driver.Connection, items: Items, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    if end == "commit":
        tenant.begin()
        put(tenant, 1)
    monkeypatch.setattr(Deadline, "remaining", lambda _: 0.0)
    with pytest.raises(driver.OperationalError, match="The 30 seconds of the timeout passed"):
        put(tenant, 2) if end == "write" else tenant.commit()
    monkeypatch.undo()
    tenant.rollback()
    assert items() == []
