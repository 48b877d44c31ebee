"""What conflicts between optimistic blocks on D1, what does not, and what is left after a lost answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import Answer, Transport
from do_bridge.driver.transports.rest import RestTransport

from .conftest import D1
from .test_d1_keys import Faults

Pair = tuple[driver.Connection, driver.Connection]


@pytest.fixture(params=["relay", "rest"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """One transport after the other."""
    found: Transport = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def item(transport: Transport) -> Iterator[str]:
    """A table with the rows (1, 10) and (2, 20)."""
    name = f"item_{uuid.uuid4().hex}"
    with driver.connect(transport, D1) as connection:
        connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, v, u UNIQUE)")
        connection.execute(f"INSERT INTO {name} (v) VALUES (10), (20)")
        yield name
        connection.execute(f"DROP TABLE {name}")


@pytest.fixture
def pair(transport: Transport, item: str) -> Iterator[Pair]:
    """Two connections with an open block each."""
    connections = [driver.connect(transport, D1, optimistic=True, timeout=10) for _ in range(2)]
    for connection in connections:
        connection.begin()
    yield connections[0], connections[1]
    for connection in connections:
        connection.close()


def rows(connection: driver.Connection, item: str) -> list[Any]:
    return connection.execute(f"SELECT id, v FROM {item} ORDER BY id").fetchall()


def refused(connection: driver.Connection) -> None:
    with pytest.raises(driver.TransactionConflict, match="nothing of this one was written") as caught:
        connection.commit()
    assert (caught.value.kind, caught.value.effect) == ("conflict", "ended")
    with pytest.raises(driver.OperationalError, match="The transaction has ended"):
        connection.execute("SELECT 1")
    connection.rollback()


def test_of_two_increments_by_a_value_that_was_read_one_is_refused(pair: Pair, item: str) -> None:
    for connection in pair:
        ((value,),) = connection.execute(f"SELECT v FROM {item} WHERE id = 1").fetchall()
        connection.execute(f"UPDATE {item} SET v = %s WHERE id = 1", [value + 1])
    pair[0].commit()
    refused(pair[1])
    assert rows(pair[1], item) == [(1, 11), (2, 20)]


def test_of_two_increments_in_sql_none_is_lost_and_none_is_refused(pair: Pair, item: str) -> None:
    for connection in pair:
        connection.execute(f"UPDATE {item} SET v = v + 1 WHERE id = 1")
    for connection in pair:
        connection.commit()
    assert rows(pair[0], item)[0] == (1, 12)


def test_a_row_that_appears_in_a_range_that_was_read_is_a_conflict(pair: Pair, item: str) -> None:
    first, second = pair
    assert first.execute(f"SELECT count(*) FROM {item} WHERE v > 15").fetchone() == (1,)
    first.execute(f"INSERT INTO {item} (v) VALUES (0)")
    second.execute(f"INSERT INTO {item} (v) VALUES (16)")
    second.commit()
    refused(first)


def test_of_two_blocks_that_each_read_what_the_other_writes_one_is_refused(pair: Pair, item: str) -> None:
    for number, connection in enumerate(pair, 1):
        # Write skew: together the rows may go down to 0 once.
        assert connection.execute(f"SELECT sum(v) FROM {item}").fetchone() == (30,)
        connection.execute(f"UPDATE {item} SET v = v - 20 WHERE id = %s", [number])
    pair[1].commit()
    refused(pair[0])
    assert rows(pair[0], item) == [(1, 10), (2, 0)]


def test_a_change_between_a_read_and_the_first_write_is_a_conflict_at_once(pair: Pair, item: str) -> None:
    first, second = pair
    rows(first, item)
    second.execute(f"UPDATE {item} SET v = 11 WHERE id = 1")
    second.commit()
    with pytest.raises(driver.TransactionConflict, match="Run the whole block again"):
        first.execute(f"UPDATE {item} SET v = 0 WHERE id = 2")
    first.rollback()
    assert rows(first, item) == [(1, 11), (2, 20)]


def test_a_write_that_finds_other_rows_than_it_did_is_a_conflict(pair: Pair, item: str) -> None:
    first, second = pair
    assert first.execute(f"UPDATE {item} SET u = 'x' WHERE v = 10").rowcount == 1
    second.execute(f"DELETE FROM {item} WHERE id = 1")
    second.commit()
    refused(first)


def test_a_repeated_write_that_another_block_made_impossible_is_a_conflict(pair: Pair, item: str) -> None:
    first, second = pair
    first.execute(f"INSERT INTO {item} (v, u) VALUES (1, 'same')")
    second.execute(f"INSERT INTO {item} (v, u) VALUES (2, 'same')")
    second.commit()
    with pytest.raises(driver.TransactionConflict, match="Run the whole block again"):
        first.execute(f"INSERT INTO {item} (v) VALUES (3)")
    first.rollback()


def test_a_unique_value_taken_by_another_block_is_a_conflict_at_the_commit(pair: Pair, item: str) -> None:
    first, second = pair
    first.execute(f"INSERT INTO {item} (v, u) VALUES (1, 'same')")
    second.execute(f"INSERT INTO {item} (v, u) VALUES (2, 'same')")
    second.commit()
    refused(first)


def test_two_blocks_that_insert_into_one_table_are_no_conflict(pair: Pair, item: str) -> None:
    for connection in pair:
        connection.execute(f"INSERT INTO {item} (v) VALUES (1)")
        (key, _) = connection.reserve_keys(item, 2)
        connection.execute(f"INSERT INTO {item} (id, v) VALUES (%s, 2)", [key])
        assert connection.execute(f"SELECT v FROM {item} WHERE id = %s", [key]).fetchone() == (2,)
    for connection in pair:
        connection.commit()
    assert len(rows(pair[0], item)) == 6


def test_a_last_row_id_that_was_looked_at_is_part_of_what_the_block_knows(pair: Pair, item: str) -> None:
    first, second = pair
    assert first.execute(f"INSERT INTO {item} (v) VALUES (1)").lastrowid == 3
    second.execute(f"INSERT INTO {item} (v) VALUES (1)")
    second.commit()
    refused(first)


def test_what_a_rolled_back_savepoint_had_read_does_not_count(pair: Pair, item: str) -> None:
    first, second = pair
    first.execute(f"UPDATE {item} SET u = 'x' WHERE id = 2")
    first.savepoint("s")
    first.execute(f"SELECT v FROM {item} WHERE id = 1")
    first.rollback_to("s")
    second.execute(f"UPDATE {item} SET v = 0 WHERE id = 1")
    second.commit()
    first.commit()


def test_a_block_that_only_reads_commits_without_a_round_trip(pair: Pair, item: str) -> None:
    rows(pair[0], item)
    pair[1].execute(f"DELETE FROM {item}")
    pair[1].commit()
    with driver.count_trips() as trips:
        pair[0].commit()
    assert trips.count == 0


def test_keys_are_reserved_above_the_largest_and_never_twice(pair: Pair, item: str) -> None:
    first, second = pair
    first.execute(f"DELETE FROM {item}")
    assert list(first.reserve_keys(item, 3)) == [3, 4, 5]
    assert list(second.reserve_keys(item, 1)) == [6]
    first.rollback()
    first.execute(f"INSERT INTO {item} (id) VALUES (100)")
    first.execute("DELETE FROM sqlite_sequence WHERE name = %s", [item])
    assert list(first.reserve_keys(item, 2)) == [101, 102]


@pytest.mark.parametrize("plan", [["lose"], ["drop"], ["lose", "lose"], ["drop", "lose"]])
def test_a_commit_whose_answer_was_lost_is_carried_out_once(
    transport: Transport, pair: Pair, item: str, plan: list[str]
) -> None:
    pair[0].execute(f"UPDATE {item} SET v = v + 1")
    Faults(transport).plan = plan
    pair[0].commit()
    assert rows(pair[0], item) == [(1, 11), (2, 21)]


def test_a_commit_that_never_arrived_and_conflicts_by_then_is_refused(
    transport: Transport, pair: Pair, item: str
) -> None:
    first, second = pair
    rows(first, item)
    first.execute(f"UPDATE {item} SET v = v + 1")
    second.execute(f"UPDATE {item} SET v = 0")
    second.commit()
    Faults(transport).plan = ["drop"]
    refused(first)


def test_a_lost_answer_inside_a_block_is_asked_for_again(transport: Transport, pair: Pair, item: str) -> None:
    faults = Faults(transport)
    faults.plan = ["lose", "pass", "drop"]
    assert pair[0].execute(f"UPDATE {item} SET v = v + 1").rowcount == 2
    assert rows(pair[0], item) == [(1, 11), (2, 21)]
    pair[0].commit()
    assert rows(pair[1], item) == [(1, 11), (2, 21)]


def test_a_statement_that_never_got_through_leaves_the_block_open(
    transport: Transport, pair: Pair, item: str
) -> None:
    faults = Faults(transport)
    pair[0].execute(f"UPDATE {item} SET v = v + 1")
    faults.plan = ["silence"]
    with pytest.raises(driver.OperationalError, match="The connection was lost"):
        rows(pair[0], item)
    assert rows(pair[0], item) == [(1, 11), (2, 21)]
    pair[0].commit()


class Altered(Transport):
    """Changes the message of every failing batch on its way, as a changed platform might."""

    def __init__(self, inner: Transport, change: Callable[[str], str]) -> None:
        self._inner = inner
        self._change = change

    def batch(self, database: str, statements: Any, deadline: Any, **options: Any) -> list[Answer]:
        """Pass on, and change the message of an error."""
        try:
            return self._inner.batch(database, statements, deadline, **options)
        except driver.Error as error:
            error.args = (self._change(str(error)),)
            raise

    def max_request(self, deadline: Any) -> int:
        """Pass on."""
        return self._inner.max_request(deadline)

    def close(self) -> None:
        """Leave the inner transport open."""


CHANGES = {
    "cut at the end": lambda text: text[:-1],
    "cut after 40 characters": lambda text: text[:40],
    "cut inside of the rows": lambda text: text.replace("74", "", 1),
    "cut out in the middle": lambda text: text[:60] + "…" + text[70:],
    "a digit changed": lambda text: text[::-1].replace("4", "5", 1)[::-1],
    "lower case": str.lower,
    "an answer to another request": lambda text: text.replace("told; ", "told; 0", 1),
    "an extra space": lambda text: text.replace(" end", "  end"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_message_changed_by_a_fake_transport_is_an_error_and_never_another_answer(
    transport: Transport, item: str, change: str
) -> None:
    with driver.connect(Altered(transport, CHANGES[change]), D1, optimistic=True) as connection:
        connection.begin()
        with pytest.raises(driver.OperationalError, match="'none'|other"):
            connection.execute(f"UPDATE {item} SET v = 'tttttttt'")
            connection.execute(f"SELECT v, 'other' FROM {item}")
        connection.rollback()
        assert rows(connection, item) == [(1, 10), (2, 20)]


def test_a_fake_transport_that_hides_the_message_names_the_setting(transport: Transport, item: str) -> None:
    hidden = Altered(transport, lambda text: "bad JSON path (the value is not shown)")
    with driver.connect(hidden, D1, optimistic=True) as connection:
        connection.begin()
        with pytest.raises(driver.OperationalError, match="bad JSON path") as caught:
            connection.execute(f"UPDATE {item} SET v = 1")
        assert "'none'" in caught.value.__notes__[0]


class Succeeding(Altered):
    """A platform on which the ending does not fail."""

    def batch(self, database: str, statements: Any, deadline: Any, **options: Any) -> list[Answer]:
        """Leave out what fails."""
        kept: list[Statement] = [step for step in statements if "do_bridge:told" not in step.sql]
        return self._inner.batch(database, kept, deadline, **options)


def test_a_fake_transport_that_commits_a_trial_is_reported_at_once(transport: Transport, item: str) -> None:
    with driver.connect(Succeeding(transport, str), D1, optimistic=True) as connection:
        connection.begin()
        with pytest.raises(driver.OperationalError, match="carried out a batch that must fail") as caught:
            connection.execute(f"UPDATE {item} SET v = 1")
        assert caught.value.effect == "unknown"


def test_no_value_of_a_row_stands_in_an_error_or_its_causes(pair: Pair, item: str) -> None:
    secret = "hidden-value"
    pair[0].execute(f"INSERT INTO {item} (v, u) VALUES (%s, %s)", [secret, secret])
    with pytest.raises(driver.IntegrityError, match="UNIQUE") as caught:
        pair[0].execute(f"INSERT INTO {item} (v, u) VALUES (%s, %s)", [secret, secret])
    error: BaseException | None = caught.value
    while error is not None:
        assert secret not in str(error) and secret.encode().hex().upper() not in str(error)
        error = error.__cause__ or error.__context__


def test_rest_and_relay_share_what_they_validate(rest: RestTransport, relay: Any, item: str) -> None:
    with (
        driver.connect(rest, D1, optimistic=True) as one,
        driver.connect(relay, D1, optimistic=True) as other,
    ):
        one.begin()
        rows(one, item)
        one.execute(f"UPDATE {item} SET v = 0 WHERE id = 1")
        other.execute(f"UPDATE {item} SET v = 21 WHERE id = 2")
        refused(one)
