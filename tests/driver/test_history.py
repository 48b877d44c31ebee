"""Bookmarks of objects and the way back: what the local runtime refuses, and a stand-in with a history."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport
from tests.driver.proxy import Proxy

DAY = 24 * 60 * 60 * 1000
D1 = "d1:d0b41d9e-0000-4000-8000-000000000001"


@pytest.fixture
def connect(history_worker):
    transport = RelayTransport(history_worker.url, history_worker.token)
    yield lambda name: driver.connect(transport, f"do:test/history/{name}", timeout=10)
    transport.close()


def rows(connection):
    return [row for (row,) in connection.execute("SELECT a FROM t ORDER BY a").fetchall()]


def filled(connection):
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT)")
    connection.execute("INSERT INTO t (a) VALUES ('before')")
    return connection


def test_an_object_goes_back_and_forth_on_a_stand_in(connect):
    connection = filled(connect("back"))
    before = connection.bookmark()
    connection.execute("INSERT INTO t (a) VALUES ('bad')")
    undo = connection.restore(before)
    assert rows(connection) == ["before"]
    assert undo > before
    connection.execute("INSERT INTO t (a) VALUES ('later')")
    connection.restore(undo)
    assert rows(connection) == ["bad", "before"]


def test_a_moment_has_a_bookmark_on_a_stand_in(connect):
    connection = connect("moment")
    empty = int(time.time() * 1000) - 1000
    filled(connection)
    time.sleep(0.05)
    moment = int(time.time() * 1000)
    time.sleep(0.05)
    connection.execute("DELETE FROM t")
    connection.restore(connection.bookmark(moment))
    assert rows(connection) == ["before"]
    connection.restore(connection.bookmark(empty))
    with pytest.raises(driver.OperationalError, match="no such table"):
        rows(connection)


def test_a_bookmark_of_nowhere_is_refused_on_a_stand_in(connect):
    connection = filled(connect("nowhere"))
    with pytest.raises(driver.DataError, match="This point of the object's history can't be used") as caught:
        connection.restore("ffffffff-0000b26e-00001538-0c3e87bb37b3db5cc52eedb93cd3b96b")
    assert (caught.value.kind, caught.value.effect) == ("bad_bookmark", "none")
    assert rows(connection) == ["before"]


def test_a_restore_waits_for_an_open_transaction_on_a_stand_in(connect):
    connection, other = filled(connect("waits")), connect("waits")
    before = connection.bookmark()
    other.begin()
    other.execute("INSERT INTO t (a) VALUES ('inside')")
    with ThreadPoolExecutor() as pool:
        undo = pool.submit(connection.restore, before)
        other.execute("INSERT INTO t (a) VALUES ('and more')")
        other.commit()
        undo = undo.result()
    assert rows(connection) == ["before"]
    connection.restore(undo)
    assert rows(connection) == ["and more", "before", "inside"]


def test_two_restores_at_once_both_end_on_a_stand_in(connect):
    first, second = filled(connect("twice")), connect("twice")
    before = first.bookmark()
    first.execute("INSERT INTO t (a) VALUES ('bad')")
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(one.restore, before) for one in (first, second)]
        kinds = {type(one.exception()) for one in found}
    # The second may meet the restart of the first: then nobody can tell what became of it.
    assert kinds <= {type(None), driver.OperationalError}
    assert type(None) in kinds
    assert rows(first) == ["before"]


def test_a_writer_during_a_restore_is_told_the_truth_on_a_stand_in(connect):
    connection, writer = filled(connect("writer")), connect("writer")
    before = connection.bookmark()
    with ThreadPoolExecutor() as pool:
        writes = pool.submit(
            lambda: [
                writer.execute("INSERT INTO t (a) VALUES ('w') RETURNING id").fetchone()[0] for _ in range(40)
            ]
        )
        undo = connection.restore(before)
        assert len(writes.result()) == 40
    # What was written before the restart is in the state that the undo leads to, the rest is here.
    after = rows(connection).count("w")
    connection.restore(undo)
    assert rows(connection).count("w") + after == 40


def test_a_write_whose_answer_was_lost_is_repeated_once_after_a_restore_on_a_stand_in(connect):
    connection = filled(connect("keys"))
    before = connection.bookmark()
    connection.execute("INSERT INTO t (a) VALUES ('confirmed')")
    connection.restore(before)
    # The object no longer has this client's key, and the client goes on with a higher one.
    connection.execute("INSERT INTO t (a) VALUES ('again')")
    assert rows(connection) == ["again", "before"]


def test_the_schema_is_that_of_the_bookmark_on_a_stand_in(connect):
    connection = filled(connect("schema"))
    connection.execute("CREATE TABLE _do_bridge_meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    connection.execute("INSERT INTO _do_bridge_meta VALUES ('schema', 'aa')")
    before = connection.bookmark()
    connection.execute("UPDATE _do_bridge_meta SET value = 'bb' WHERE key = 'schema'")
    connection.restore(before)
    connection.expect = "bb"
    with pytest.raises(driver.OperationalError, match="schema") as caught:
        rows(connection)
    assert caught.value.found == "aa"


def test_a_token_for_objects_alone_gets_no_bookmark(history_worker):
    transport = RelayTransport(history_worker.url, history_worker.tokens["RELAY_TOKEN_TENANTS"])
    connection = driver.connect(transport, "do:test/history/scope")
    for ask in (connection.bookmark, lambda: connection.restore("0" * 8)):
        with pytest.raises(driver.OperationalError, match="bookmarks need the token RELAY_TOKEN") as caught:
            ask()
        assert (caught.value.kind, caught.value.effect) == ("forbidden", "none")
    transport.close()


def test_the_local_runtime_has_the_present_bookmark_alone(relay):
    connection = driver.connect(relay, "do:test/history/local")
    assert connection.bookmark()
    for ask in (lambda: connection.bookmark(int(time.time() * 1000)), lambda: connection.restore("0" * 8)):
        with pytest.raises(driver.NotSupportedError, match="keeps no history") as caught:
            ask()
        assert caught.value.effect == "none"


@pytest.mark.parametrize(("days", "text"), [(31, "30 days ago"), (-1, "in the future")])
def test_a_moment_out_of_reach_is_refused(relay, days, text):
    connection = driver.connect(relay, "do:test/history/moments")
    with pytest.raises(driver.DataError, match=text):
        connection.bookmark(int(time.time() * 1000) - days * DAY)


def test_d1_and_rest_have_no_bookmarks(relay, local_worker):
    for transport in (relay, RestTransport(local_worker.api_base, "")):
        connection = driver.connect(transport, D1)
        for ask in (connection.bookmark, lambda: connection.restore("0" * 8)):  # noqa: B023
            with pytest.raises(driver.NotSupportedError, match="Only Durable Objects behind the relay"):
                ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: connection.size(),
        lambda connection: connection.erase(),
        lambda connection: connection.bookmark(),
        lambda connection: connection.restore("0" * 8),
    ],
    ids=["size", "erase", "bookmark", "restore"],
)
def test_what_waits_for_the_connections_own_transaction_is_refused_at_once(relay, trips, ask):
    """Otherwise it would wait for its lease, and the transaction would be lost."""
    with driver.connect(relay, "do:test/history/open") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (a)")
        connection.begin()
        connection.execute("INSERT INTO kept VALUES (1)")
        before = trips.count
        with pytest.raises(driver.OperationalError, match=r"A transaction .* is open.* Call commit"):
            ask(connection)
        assert trips.count == before
        connection.rollback()
        connection.begin()
        assert connection.size() > 0


def test_the_size_of_d1_can_be_read_in_an_optimistic_block(relay):
    with driver.connect(relay, D1, optimistic=True) as connection:
        connection.begin()
        connection.execute("SELECT 1")
        assert connection.size() > 0


def test_the_bookmarks_of_many_objects_take_one_round_trip(relay):
    names = [f"do:test/history/many-{number}" for number in range(20)]
    relay.bookmarks(names[:1], driver.transport.Deadline(10))
    with driver.count_trips() as trips:
        found = relay.bookmarks(names, driver.transport.Deadline(10))
    assert trips.count == 1
    assert all(isinstance(one, str) for one in found)


def test_a_lost_answer_of_a_restore_leaves_its_outcome_unknown_on_a_stand_in(connect, history_worker):
    connection = filled(connect("lost"))
    before = connection.bookmark()
    connection.execute("INSERT INTO t (a) VALUES ('bad')")
    with Proxy(history_worker.port) as proxy:
        transport = RelayTransport(proxy.url, history_worker.token)
        away = driver.connect(transport, connection.database, timeout=10)
        away.bookmark()
        proxy.lose_answers = 1
        with pytest.raises(driver.OperationalError, match="outcome of the write is unknown") as caught:
            away.restore(before)
        transport.close()
    assert caught.value.effect == "unknown"
    # It was carried out, and carrying it out again does no harm.
    assert rows(connection) == ["before"]
    connection.restore(before)
    assert rows(connection) == ["before"]


def test_a_client_that_goes_leaves_no_restore_behind_for_later_on_a_stand_in(connect, history_worker):
    connection = filled(connect("gone"))
    before = connection.bookmark()
    connection.execute("INSERT INTO t (a) VALUES ('bad')")
    transport = RelayTransport(history_worker.url, history_worker.token)
    session = transport.pool.acquire(driver.transport.Deadline(10))
    message = {"op": "restore", "db": connection.database, "bookmark": before, "steps": []}
    session.post(message, driver.transport.Deadline(10))
    session.abort()
    transport.close()
    # Whether the request got through or not: nothing waits for a later restart of the object.
    connection.execute("INSERT INTO t (a) VALUES ('later')")
    assert rows(connection) in (["before", "later"], ["bad", "before", "later"])
    time.sleep(0.2)
    assert "later" in rows(connection)
