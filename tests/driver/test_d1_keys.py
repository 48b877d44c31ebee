"""Writes on D1 under keys, over both transports: once or never, and the caller knows which."""

from __future__ import annotations

import copy
import os
import random
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.keys import on_d1
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.driver.transports.wire import wire_steps

from .conftest import D1
from .proxy import Proxy

LOST = driver.OperationalError


class Faults:
    """Stands between a transport and its database: loses answers, and delivers requests late."""

    def __init__(self, transport: Any) -> None:
        name = "_ask" if isinstance(transport, RestTransport) else "_ask_once"
        self._send = getattr(transport, name)
        self.late: list[tuple[Any, ...]] = []
        self.plan: list[str] = []
        self.sent = 0
        setattr(transport, name, self._carry)

    def _carry(self, *request: Any) -> Any:
        self.sent += 1
        fate = self.plan.pop(0) if self.plan else "pass"
        if fate == "delay":
            self.late.append(request[:-1])
        if fate == "busy":
            raise LOST("too much to do", kind="overloaded", effect="none")
        if fate in ("pass", "lose"):
            answer = self._send(*request)
        if fate != "pass":
            raise LOST(f"The connection was lost ({fate})", effect="unknown", transient=fate != "silence")
        return answer

    def deliver(self) -> list[str]:
        """Deliver what was delayed; how the database refused each, empty where it did not."""
        refusals = []
        for request in self.late:
            try:
                self._send(*request, Deadline(10))
                refusals.append("")
            except driver.Error as error:
                refusals.append(str(error))
        self.late.clear()
        return refusals


@pytest.fixture(params=["relay", "rest"])
def keyed(request: pytest.FixtureRequest) -> Iterator[driver.Connection]:
    """A connection to D1 that gives its writes keys; its table `item` is empty."""
    transport = request.getfixturevalue(request.param)
    with driver.connect(transport, D1, timeout=60, write_keys=True) as made:
        made.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, v UNIQUE)")
        made.execute("DELETE FROM item")
        yield made


@pytest.fixture
def faults(keyed: driver.Connection) -> Faults:
    """What happens to the connection's requests."""
    return Faults(keyed.transport)


@pytest.fixture
def items(keyed: driver.Connection) -> Callable[[], list[Any]]:
    """Reads the values of `item`."""
    return lambda: [value for (value,) in keyed.execute("SELECT v FROM item ORDER BY v").fetchall()]


Items = Callable[[], list[Any]]


def put(connection: driver.Connection, value: Any) -> int:
    cursor = connection.execute("INSERT INTO item (v) VALUES (%s) RETURNING id", [value])
    (key,) = cursor.fetchone() or (None,)
    assert (cursor.rowcount, cursor.lastrowid) == (1, key)
    return int(key)


def test_a_write_and_a_batch_cost_one_trip_and_one_row_of_their_client(
    keyed: driver.Connection, items: Items
) -> None:
    with driver.count_trips() as trips:
        put(keyed, 1)
        keyed.execute_batch([("INSERT INTO item (v) VALUES (%s)", [value]) for value in (2, 3)])
        assert keyed.execute("UPDATE item SET v = v + 10 WHERE v > %s", [1]).rowcount == 2
        with pytest.raises(driver.IntegrityError, match="item.v") as caught:
            put(keyed, 1)
    assert (trips.count, caught.value.effect, caught.value.step) == (4, "none", 0)
    assert items() == [1, 12, 13]
    client = keyed._keys.next().partition(":")[0]
    rows = keyed.execute("SELECT answer FROM _do_bridge_keys WHERE client = %s", [client]).fetchall()
    assert rows == [("-",)]


def test_without_being_asked_for_d1_gets_no_keys(relay: RelayTransport, rest: RestTransport) -> None:
    for transport in (relay, rest):
        connection = driver.connect(transport, D1)
        connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, v UNIQUE)")
        assert connection._keys._client is None


@pytest.mark.parametrize("plan", [["drop"], ["drop", "drop"]])
def test_a_write_that_never_arrived_is_sent_again_and_gives_its_primary_key(
    keyed: driver.Connection, faults: Faults, items: Items, plan: list[str]
) -> None:
    faults.plan = list(plan)
    assert put(keyed, 1) == keyed.execute("SELECT max(id) FROM item").fetchone()[0]  # type: ignore[index]
    assert items() == [1]


@pytest.mark.parametrize("plan", [["lose"], ["lose", "lose"], ["drop", "lose"], ["lose", "drop"]])
def test_a_write_whose_answer_was_lost_is_there_once_and_said_to_be_done(
    keyed: driver.Connection, faults: Faults, items: Items, plan: list[str]
) -> None:
    faults.plan = list(plan)
    with pytest.raises(driver.OperationalError, match="carried out once") as caught:
        keyed.execute_batch([("INSERT INTO item (v) VALUES (%s)", [value]) for value in (1, 2)])
    assert (caught.value.kind, caught.value.effect) == ("answer_lost", "done")
    assert items() == [1, 2]


def test_a_delayed_write_does_nothing_after_its_repetition_or_after_the_next_write(
    keyed: driver.Connection, faults: Faults, items: Items
) -> None:
    faults.plan = ["delay"]
    put(keyed, 1)
    keyed.execute("DELETE FROM item")
    assert ["do_bridge:key_" in refusal for refusal in faults.deliver()] == [True]
    keyed.timeout = 0.3
    faults.plan = ["delay"] + ["silence"] * 2
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown") as caught:
        put(keyed, 2)
    assert caught.value.effect == "unknown"
    keyed.timeout = 10
    faults.plan = []
    put(keyed, 3)
    assert ["do_bridge:key_stale" in refusal for refusal in faults.deliver()] == [True]
    assert items() == [3]


def test_a_delayed_write_whose_repetition_failed_never_runs(
    keyed: driver.Connection, faults: Faults, items: Items
) -> None:
    put(keyed, 1)
    faults.plan = ["delay"]
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed") as caught:
        put(keyed, 1)
    assert caught.value.effect == "none"
    keyed.transport.batch(D1, [driver.sql.prepare("DELETE FROM item", None)], Deadline(10))
    assert ["do_bridge:key_given_up" in refusal for refusal in faults.deliver()] == [True]
    assert items() == []


def test_a_write_on_a_connection_that_fell_silent_is_given_up_and_never_arrives(
    keyed: driver.Connection, faults: Faults, items: Items
) -> None:
    faults.plan = ["delay", "silence"]
    with pytest.raises(driver.OperationalError, match="was not carried out and will not be") as caught:
        put(keyed, 1)
    assert (caught.value.effect, caught.value.transient) == ("none", True)
    assert ["do_bridge:key_given_up" in refusal for refusal in faults.deliver()] == [True]
    assert items() == []


def test_a_database_that_is_overloaded_is_asked_again_for_the_outcome(
    keyed: driver.Connection, faults: Faults, items: Items
) -> None:
    faults.plan = ["silence", "busy"]
    with pytest.raises(driver.OperationalError, match="was not carried out and will not be"):
        put(keyed, 1)
    assert items() == []


def test_an_outcome_is_final(keyed: driver.Connection, faults: Faults, items: Items) -> None:
    transport: Any = keyed.transport
    keys = [keyed._keys.next() for _ in range(3)]

    def write(key: str, value: int) -> None:
        step = driver.sql.prepare("INSERT INTO item (v) VALUES (%s)", [value])
        transport.batch(D1, [step], Deadline(10), key=key)

    def outcome(key: str) -> str:
        def send(steps: Any, deadline: Deadline) -> Any:
            if isinstance(transport, RestTransport):
                return transport._ask(transport._url(D1), steps, deadline)
            message = {"op": "batch", "db": D1, "steps": wire_steps(steps)}
            return transport._ask_once(message, deadline)

        return on_d1.outcome_on_d1(send, key, Deadline(10))

    assert [outcome(keys[0]), outcome(keys[0])] == ["none", "none"]
    with pytest.raises(driver.OperationalError, match="key_given_up") as caught:
        write(keys[0], 1)
    assert (caught.value.kind, caught.value.effect) == ("stale_key", "none")
    write(keys[2], 2)
    assert [outcome(keys[2]), outcome(keys[2]), outcome(keys[1])] == ["done", "done", "unknown"]
    assert items() == [2]


def test_a_text_of_several_statements_goes_without_a_key(keyed: driver.Connection, faults: Faults) -> None:
    text = "CREATE TABLE IF NOT EXISTS several (a); SELECT count(*) AS a FROM several"
    assert keyed.execute(text).fetchall() == [(0,)]
    faults.plan = ["lose"]
    with pytest.raises(driver.OperationalError, match="outcome of the write is unknown"):
        keyed.execute(text)
    keyed.execute("DROP TABLE several")


def test_a_copy_of_a_connections_state_writes_under_a_name_of_its_own(
    keyed: driver.Connection, items: Items
) -> None:
    put(keyed, 0)
    other = driver.connect(keyed.transport, D1, write_keys=True)
    other._keys = copy.deepcopy(keyed._keys)
    for value in (1, 2):
        put(keyed, value)
    for value in (3, 4):
        put(other, value)
    assert items() == [0, 1, 2, 3, 4]


def test_the_first_key_of_a_database_makes_the_table_and_old_keys_go(
    keyed: driver.Connection, items: Items
) -> None:
    with keyed.unkeyed():
        keyed.execute("DROP TABLE _do_bridge_keys")
    put(keyed, 1)
    old = uuid.uuid4().hex
    with keyed.unkeyed():
        keyed.execute("INSERT INTO _do_bridge_keys VALUES (%s, 1, '-', unixepoch() * 1000 - 86401000)", [old])
    keyed._keys.rename()
    with driver.count_trips() as trips:
        put(keyed, 2)
    assert trips.count == 1
    rows = keyed.execute("SELECT count(*), sum(client = %s) FROM _do_bridge_keys", [old]).fetchall()
    assert rows == [(2, 0)]
    assert items() == [1, 2]


@pytest.mark.parametrize("way", ["relay", "rest"])
def test_an_answer_that_the_network_lost_is_asked_for(way: str, proxy: Proxy, local_worker: Any) -> None:
    transport: RelayTransport | RestTransport = RelayTransport(proxy.url, local_worker.token)
    if way == "rest":
        transport = RestTransport(f"{proxy.url}/cdn-cgi/local/explorer/api", "token")
    connection = driver.connect(transport, D1, timeout=60, write_keys=True)
    connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, v UNIQUE)")
    connection.execute("DELETE FROM item")
    proxy.lose_answers = 1
    with pytest.raises(driver.OperationalError, match="carried out once") as caught:
        put(connection, 1)
    assert caught.value.effect == "done"
    assert connection.execute("SELECT v FROM item").fetchall() == [(1,)]
    transport.close()


def test_many_writes_under_faults_are_there_exactly_as_told(keyed: driver.Connection, faults: Faults) -> None:
    seed = int(os.environ.get("KEYS_SEED") or secrets.randbelow(2**32))
    chance = random.Random(seed)  # noqa: S311 - no secret
    # Where a value may be there twice, so that it would be seen.
    keyed.execute("DROP TABLE IF EXISTS many")
    keyed.execute("CREATE TABLE many (v)")
    told: list[tuple[int, int]] = []
    for value in range(int(os.environ.get("KEYS_ROUNDS", "30"))):
        faults.plan = chance.choices(["pass", "lose", "drop", "delay"], weights=[3, 1, 1, 2], k=3)
        if chance.random() < 0.3:
            faults.deliver()
        rows = chance.randint(1, 2)
        try:
            keyed.execute_batch([("INSERT INTO many VALUES (%s)", [value])] * rows)
            told.append((value, rows))
        except driver.OperationalError as error:
            assert error.effect in ("none", "done"), f"seed {seed}"
            told += [(value, rows)] * (error.effect == "done")
    faults.plan = []
    faults.deliver()
    there = keyed.execute("SELECT v, count(*) FROM many GROUP BY v ORDER BY v").fetchall()
    assert there == told, f"seed {seed}"
    keyed.execute("DROP TABLE many")
