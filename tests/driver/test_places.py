"""Objects in jurisdictions, on a stand-in for the platform's, which the local runtime does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.places import JURISDICTIONS, LOCATIONS, check_name, is_place, join_place, split_place
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport

FORMER = Path(__file__).parents[1] / "infra" / "relays" / "before-0.1.0.js"


@pytest.mark.parametrize(
    ("name", "jurisdiction", "joined"),
    [
        ("do:tenant/acme", "eu", "do:tenant/acme@eu"),
        ("tenant/acme", "fedramp-high", "tenant/acme@fedramp-high"),
        ("do:tenant/acme", None, "do:tenant/acme"),
        ("do:tenant/acme", "", "do:tenant/acme"),
    ],
)
def test_a_name_and_its_jurisdiction_are_joined_and_split(name, jurisdiction, joined):
    assert join_place(name, jurisdiction) == joined
    assert split_place(joined) == (name, jurisdiction or None)


def test_a_name_takes_one_jurisdiction_of_the_right_form():
    with pytest.raises(ValueError, match="carries a jurisdiction already"):
        join_place("do:tenant/acme@eu", "us")
    for wrong in ("EU", "e", "e u", "eu@us", "eu/x", "eu\n", "x" * 17, "ëu"):
        with pytest.raises(ValueError, match="2 to 16 lower-case"):
            join_place("do:tenant/acme", wrong)


def test_all_listed_places_are_ones_that_the_relay_accepts():
    assert all(is_place(name) for name in (*JURISDICTIONS, *LOCATIONS))
    for jurisdiction in JURISDICTIONS:
        for location in LOCATIONS:
            check_name(f"do:tenant/acme@{jurisdiction}", location)


@pytest.mark.parametrize("name", ["do:a@", "do:a@EU", "do:a@eu@us", "do:a@e", "do:a@eu\n"])
def test_a_wrong_jurisdiction_is_refused_before_anything_is_sent(relay, trips, name):
    with pytest.raises(
        driver.InterfaceError, match="no valid jurisdiction behind the '@'. Use one of eu, us"
    ):
        driver.connect(relay, name)
    assert trips.count == 0


@pytest.mark.parametrize("name", ["do:@eu", "do:", "d1:id@eu", "d1:", "x"])
def test_what_names_no_database_is_refused(relay, name):
    with pytest.raises(driver.InterfaceError, match="'do:<object>@<jurisdiction>' or 'd1:<id>'"):
        driver.connect(relay, name)


@pytest.mark.parametrize(("name", "location"), [("do:a", "W"), ("do:a@eu", "over there"), ("d1:id", "weur")])
def test_a_hint_of_another_form_or_for_d1_is_refused(relay, name, location):
    with pytest.raises(driver.InterfaceError, match="location must be one of wnam, .* on an object"):
        driver.connect(relay, name, location=location)


@pytest.fixture
def places(tenant_name: str) -> list[str]:
    """One name, in no jurisdiction and in two."""
    return [tenant_name, f"{tenant_name}@eu", f"{tenant_name}@us"]


def filled(relay: Any, places: list[str]) -> list[driver.Connection]:
    connections = [driver.connect(relay, name) for name in places]
    for connection in connections:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v UNIQUE)")
        connection.execute("INSERT INTO item (v) VALUES (%s)", [connection.database])
    return connections


def values(connection: driver.Connection) -> list[Any]:
    return [v for (v,) in connection.execute("SELECT v FROM item ORDER BY id").fetchall()]


def test_one_name_is_another_database_in_each_jurisdiction_on_a_stand_in(relay, places):
    for connection in filled(relay, places):
        assert values(connection) == [connection.database]
        assert connection.size() > 0
        jurisdiction = split_place(connection.database)[1]
        assert relay.jurisdiction_of(connection.database, Deadline(10)) == jurisdiction


def test_transactions_on_one_name_in_two_jurisdictions_are_apart_on_a_stand_in(relay, places):
    none, eu, us = filled(relay, places)
    for connection in (none, eu, us):
        connection.begin()
        connection.execute("INSERT INTO item (v) VALUES ('more')")
    eu.rollback()
    none.commit()
    us.savepoint("s")
    us.execute("DELETE FROM item")
    us.rollback_to("s")
    us.commit()
    assert [len(values(connection)) for connection in (none, eu, us)] == [2, 1, 2]


def test_keys_of_writes_are_each_objects_own_on_a_stand_in(relay, places):
    """One client's key, sent to two objects of one name, is two writes: neither takes the other for done."""
    none, eu, _ = filled(relay, places)
    key = f"{'b' * 32}:5"
    write = driver.sql.prepare("INSERT INTO item (v) VALUES ('keyed')", None)
    for connection in (none, eu, none, eu):
        relay.batch(connection.database, [write], Deadline(10), key=key)
    assert [values(connection)[1:] for connection in (none, eu)] == [["keyed"], ["keyed"]]


def test_a_lost_answer_is_looked_up_in_its_own_jurisdiction_on_a_stand_in(proxied, proxy, relay, places):
    """The commit in one jurisdiction is lost on its way back; the other one has no such key."""
    _, eu, us = filled(relay, places)
    connection = driver.connect(proxied, eu.database, timeout=20)
    connection.execute("SELECT 1")
    connection.begin()
    connection.execute("INSERT INTO item (v) VALUES ('lost')")
    proxy.lose_answers = 1
    connection.commit()
    assert (proxy.lost, values(eu)[1:], values(us)[1:]) == (1, ["lost"], [])


def test_reads_of_one_name_in_two_jurisdictions_travel_together_on_a_stand_in(relay, places):
    from do_bridge.driver.together import run_together

    statement = driver.sql.prepare("SELECT v FROM item", None)
    parts = [(connection, [statement]) for connection in filled(relay, places)]
    outcomes = run_together(parts)
    assert [outcome.rows for (outcome,) in outcomes] == [[(name,)] for name in places]


def test_an_empty_object_is_erased_in_its_own_jurisdiction_alone_on_a_stand_in(relay, places):
    none, eu, _ = filled(relay, places)
    eu.execute_batch([("DROP TABLE item", None)])
    with eu.unkeyed():
        eu.execute("DROP TABLE _do_bridge_keys")
    assert (eu.erase(), none.erase()) == (True, False)
    assert values(none) == [none.database]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests that are sent."""
    from do_bridge.driver.transports.relay_session import RelaySession

    messages, real = [], RelaySession.request

    def request(session: Any, message: dict[str, Any], deadline: Any) -> Any:
        messages.append(message)
        return real(session, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return messages


def test_a_hint_goes_with_batches_and_with_the_begin_of_transactions(relay, places, sent):
    with driver.connect(relay, places[1], location="weur") as connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
        connection.begin()
        connection.execute("INSERT INTO item (v) VALUES (1)")
        connection.execute("INSERT INTO item (v) VALUES (2)")
        connection.commit()
        connection.location = None
        connection.execute("SELECT 1")
    assert [message.get("location") for message in sent] == ["weur", "weur", None, None, None]


def test_a_jurisdiction_that_does_not_exist_has_run_nothing_and_the_session_lives_on(relay, places, trips):
    wrong = driver.connect(relay, f"{places[0]}@zz")
    with pytest.raises(
        driver.NotSupportedError, match="no objects in the jurisdiction zz: Invalid"
    ) as caught:
        wrong.execute("CREATE TABLE item (id)")
    assert (caught.value.kind, caught.value.effect) == ("unsupported", "none")
    wrong.begin()
    with pytest.raises(driver.NotSupportedError, match="The object cannot be called"):
        wrong.execute("CREATE TABLE item (id)")
    wrong.rollback()
    assert driver.connect(relay, places[1]).execute("SELECT 1").fetchone() == (1,)


def test_the_local_runtime_itself_has_no_jurisdictions(own_worker, places):
    worker = own_worker(jurisdictions=False).start()
    transport = RelayTransport(worker.url, worker.token)
    with pytest.raises(
        driver.NotSupportedError, match="A local relay has no jurisdictions: leave out --jurisdiction"
    ):
        driver.connect(transport, places[1]).execute("SELECT 1")
    assert driver.connect(transport, places[0]).execute("SELECT 1").fetchone() == (1,)
    transport.close()


@pytest.fixture
def european(own_worker: Any) -> Any:
    """A transport to a relay that serves the jurisdiction eu alone."""
    worker = own_worker(variables={"JURISDICTION": "eu"}).start()
    transport = RelayTransport(worker.url, worker.token)
    yield transport
    transport.close()


def test_a_relay_of_one_jurisdiction_refuses_others_before_it_calls_them_on_a_stand_in(european, places):
    none, eu, us = places
    for name, asked in ((none, "an object in no jurisdiction"), (us, "an object in the jurisdiction us")):
        connection = driver.connect(european, name)
        with pytest.raises(
            driver.OperationalError, match=f"eu alone .*{asked}. Set RELAY_JURISDICTION"
        ) as caught:
            connection.execute("CREATE TABLE item (id)")
        assert (caught.value.kind, caught.value.effect) == ("forbidden", "none")
        with pytest.raises(driver.OperationalError, match="does not serve this object"):
            connection.size()
        connection.begin()
        with pytest.raises(driver.OperationalError, match="does not serve this object"):
            connection.execute("CREATE TABLE item (id)")
        connection.rollback()
    own = driver.connect(european, eu)
    own.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v)")
    assert values(own) == []
    # D1 has its own jurisdiction, which the relay's variable says nothing about.
    d1 = driver.connect(european, "d1:d0b41d9e-0000-4000-8000-000000000008")
    assert d1.execute("SELECT 1").fetchone() == (1,)


def test_a_relay_from_before_jurisdictions_is_named_as_the_older_side(tmp_path, places):
    from tests.infra.test_relay_upgrades import OtherRelay

    with OtherRelay(tmp_path / "data", FORMER) as worker:
        transport = RelayTransport(worker.url, worker.token)
        connection = driver.connect(transport, places[1], location="weur")
        for call in (lambda: connection.execute("SELECT 1"), connection.size):
            with pytest.raises(
                driver.NotSupportedError, match=r"older .*Run `manage.py relay deploy`"
            ) as caught:
                call()
            assert (caught.value.kind, caught.value.effect) == ("unsupported", "none")
        # A hint is a wish, and an older relay does not read it.
        plain = driver.connect(transport, places[0], location="weur")
        assert plain.execute("SELECT 1").fetchone() == (1,)
        transport.close()
