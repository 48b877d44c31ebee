"""Reads of several connections in one round trip."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.sql import Statement, prepare
from do_bridge.driver.together import run_together
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport

D1 = "d1:d0b41d9e-0000-4000-8000-000000000008"


@pytest.fixture
def three(relay: RelayTransport) -> Iterator[list[driver.Connection]]:
    """Connections to two objects and to D1, which share a relay."""
    names = [f"do:test/together/{uuid.uuid4().hex}" for _ in range(2)]
    made = [driver.connect(relay, name) for name in (*names, D1)]
    made[0].execute("SELECT 1")
    yield made
    for connection in made:
        connection.close()


def reads(*texts: str) -> list[Statement]:
    return [prepare(text, None) for text in texts]


def rows(outcomes: list[list[Any]]) -> list[list[Any]]:
    return [[outcome.rows for outcome in part] for part in outcomes]


def test_reads_of_two_objects_and_d1_take_one_trip(three: list[driver.Connection]) -> None:
    parts = [(connection, reads(f"SELECT {at}", "SELECT 'x', 'x'")) for at, connection in enumerate(three)]
    with driver.count_trips() as trips:
        outcomes = run_together(parts)
    assert trips.count == 1
    assert rows(outcomes) == [[[(at,)], [("x", "x")]] for at in range(3)]


def test_each_request_is_reported_to_its_own_connection(three: list[driver.Connection]) -> None:
    calls: list[Any] = []
    for connection in three:
        connection.on_call = calls.append
    run_together([(connection, reads("SELECT 1", "VALUES (1), (2)")) for connection in three])
    assert [(call.operation, call.database, call.statements, call.rows) for call in calls] == [
        ("batch", connection.database, 2, 3) for connection in three
    ]


def test_a_read_that_fails_fails_alone(three: list[driver.Connection]) -> None:
    parts = [
        (three[0], reads("SELECT 1", "SELECT * FROM nowhere", "SELECT 3")),
        (three[2], reads("SELECT 4")),
    ]
    (one, failed, last), (four,) = run_together(parts)
    assert isinstance(failed, driver.OperationalError)
    assert "no such table: nowhere" in str(failed)
    assert [outcome.rows for outcome in (one, last, four)] == [[(1,)], [(3,)], [(4,)]]  # type: ignore[union-attr]


def test_a_transaction_runs_its_reads_as_one_request(three: list[driver.Connection]) -> None:
    inside, outside, _ = three
    inside.execute("CREATE TABLE t (v)")
    inside.begin()
    inside.execute("INSERT INTO t VALUES (7)")
    with driver.count_trips() as trips:
        outcomes = run_together(
            [(inside, reads("SELECT v FROM t", "SELECT 2")), (outside, reads("SELECT 3"))]
        )
    assert (rows(outcomes), trips.count) == ([[[(7,)], [(2,)]], [[(3,)]]], 2)
    inside.rollback()


def test_a_failed_read_leaves_the_transaction_open(three: list[driver.Connection]) -> None:
    inside = three[0]
    inside.execute("CREATE TABLE t (v)")
    inside.begin()
    inside.savepoint("s")
    inside.execute("INSERT INTO t VALUES (7)")
    ((found, failed),) = run_together([(inside, reads("SELECT v FROM t", "SELECT nothing FROM t"))])
    assert (found.rows, type(failed)) == ([(7,)], driver.OperationalError)  # type: ignore[union-attr]
    inside.commit()
    assert inside.execute("SELECT v FROM t").fetchall() == [(7,)]


def test_large_integers_stay_exact(three: list[driver.Connection]) -> None:
    number = 2**53 + 1
    outcomes = run_together([(connection, reads(f"SELECT {number}, 'x'")) for connection in three])
    assert rows(outcomes) == [[[(number, "x")]]] * 3


def test_what_has_to_go_ahead_goes_with_its_own_database(three: list[driver.Connection]) -> None:
    waiting = [prepare("CREATE TABLE ahead (v)", None)]

    @contextmanager
    def ahead() -> Iterator[list[Statement]]:
        given, waiting[:] = waiting[:], []
        try:
            yield given
        except BaseException:
            waiting[:] = given
            raise

    three[0].ahead = ahead
    outcomes = run_together([(three[0], reads("SELECT v FROM ahead")), (three[1], reads("SELECT 1"))])
    assert (rows(outcomes), waiting) == ([[[]], [[(1,)]]], [])


def test_over_rest_each_database_is_asked_by_itself(
    rest: RestTransport, three: list[driver.Connection]
) -> None:
    with driver.connect(rest, D1) as by_rest:
        outcomes = run_together([(by_rest, reads("SELECT 1", "SELECT 2")), (three[0], reads("SELECT 3"))])
    assert rows(outcomes) == [[[(1,)], [(2,)]], [[(3,)]]]


def test_a_request_too_large_fails_alone(three: list[driver.Connection]) -> None:
    text = "x" * 1_900_000
    large = [prepare(f"SELECT {', '.join(['length(%s)'] * 10)}", [text] * 10)]
    (small,), (failed,) = run_together([(three[0], reads("SELECT 1")), (three[1], large)])
    assert small.rows == [(1,)]  # type: ignore[union-attr]
    assert isinstance(failed, driver.DataError)
    assert "Split the work" in str(failed)


def test_a_hundred_databases_take_two_trips(relay: RelayTransport) -> None:
    made = [driver.connect(relay, f"do:test/together/n{number}") for number in range(100)]
    made[0].execute("SELECT 1")
    with driver.count_trips() as trips:
        outcomes = run_together([(each, reads(f"SELECT {at}")) for at, each in enumerate(made)])
    assert trips.count == 2
    assert rows(outcomes) == [[[(at,)]] for at in range(100)]


def test_threads_do_not_get_each_others_answers(relay: RelayTransport) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        pair = [driver.connect(relay, f"do:test/together/{at}") for at in range(2)]
        for turn in range(20):
            value = number * 1000 + turn
            found = rows(run_together([(each, reads(f"SELECT {value}")) for each in pair]))
            if found != [[[(value,)]]] * 2:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_reads_survive_a_cut_connection(cuttable: driver.Connection, proxy: Any) -> None:
    with driver.connect(cuttable.transport, "do:test/together/cut", timeout=60) as other:
        proxy.cut()
        outcomes = run_together([(cuttable, reads("SELECT 1")), (other, reads("SELECT 2"))])
    assert rows(outcomes) == [[[(1,)]], [[(2,)]]]
