"""Transactions of an object: lazy, nested, serial, and rolled back whatever ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

from .conftest import D1
from .interrupts import interrupted

Items = Callable[[], list[Any]]
_FILES = (
    "connection.py",
    "keys/keyed.py",
    "transaction.py",
    "transports/relay.py",
    "transports/relay_session.py",
)


def put(connection: driver.Connection, *values: Any) -> None:
    """Insert one row for each value, each by a statement of its own."""
    for value in values:
        connection.execute("INSERT INTO item (v) VALUES (%s)", [value])


def test_a_committed_transaction_stays_and_a_rolled_back_one_goes(
    tenant: driver.Connection, items: Items
) -> None:
    tenant.begin()
    assert tenant.in_transaction
    put(tenant, 1, 2)
    tenant.commit()
    assert not tenant.in_transaction
    tenant.begin()
    put(tenant, 3)
    assert tenant.execute("SELECT count(*) FROM item").fetchone() == (3,)
    tenant.rollback()
    assert items() == [1, 2]


def test_begin_commit_and_savepoints_without_statements_cost_no_trip(tenant: driver.Connection) -> None:
    with driver.count_trips() as trips:
        tenant.begin()
        tenant.savepoint("a")
        tenant.savepoint("b")
        tenant.rollback_to("b")
        tenant.release("a")
        tenant.commit()
        tenant.begin()
        tenant.savepoint("a")
        tenant.rollback()
    assert trips.count == 0


def test_begin_and_savepoints_ride_on_statements(tenant: driver.Connection, items: Items) -> None:
    with driver.count_trips() as trips:
        tenant.begin()
        tenant.savepoint("a")
        put(tenant, 1)
        tenant.release("a")
        tenant.savepoint("b")
        put(tenant, 2)
        tenant.rollback_to("b")
        tenant.release("b")
        tenant.commit()
    assert trips.count == 3
    assert items() == [1]


def test_savepoints_nest(tenant: driver.Connection, items: Items) -> None:
    tenant.begin()
    tenant.savepoint("a")
    put(tenant, 1)
    tenant.savepoint("b")
    put(tenant, 2)
    tenant.savepoint("c")
    put(tenant, 3)
    tenant.release("c")
    tenant.rollback_to("b")
    put(tenant, 4)
    tenant.rollback_to("b")
    tenant.rollback_to("b")
    put(tenant, 5)
    tenant.release("a")
    with pytest.raises(driver.OperationalError, match="no such savepoint: b"):
        tenant.rollback_to("b")
    put(tenant, 6)
    tenant.commit()
    assert items() == [1, 5, 6]


@pytest.mark.parametrize("closes", ["release a", "release b", "rollback_to b"])
def test_a_rollback_means_the_outer_of_two_savepoints_of_one_name_once_the_inner_is_closed(
    tenant: driver.Connection, items: Items, closes: str
) -> None:
    for read_before_commit in (True, False):
        tenant.begin()
        for name, value in (("a", 1), ("b", 2), ("a", 3)):
            tenant.savepoint(name)
            put(tenant, value)
        verb, name = closes.split()
        getattr(tenant, verb)(name)
        tenant.rollback_to("a")
        if read_before_commit:
            assert tenant.execute("SELECT count(*) FROM item").fetchone() == (0,)
        tenant.commit()
        assert items() == []


def test_a_rollback_to_a_savepoint_before_commit_is_not_lost(tenant: driver.Connection, items: Items) -> None:
    tenant.begin()
    put(tenant, 1)
    tenant.savepoint("a")
    put(tenant, 2)
    tenant.rollback_to("a")
    tenant.commit()
    assert items() == [1]


def test_a_failed_statement_undoes_itself_alone(tenant: driver.Connection, items: Items) -> None:
    tenant.begin()
    tenant.savepoint("a")
    put(tenant, 1)
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed") as caught:
        tenant.execute("INSERT INTO item (v) VALUES (7), (1)")
    assert caught.value.effect == "statement"
    put(tenant, 2)
    tenant.release("a")
    tenant.commit()
    assert items() == [1, 2]


def test_a_transaction_whose_first_statement_fails_goes_on(tenant: driver.Connection, items: Items) -> None:
    tenant.begin()
    tenant.savepoint("a")
    with pytest.raises(driver.OperationalError, match="no such table"):
        tenant.execute("SELECT * FROM nowhere")
    tenant.rollback_to("a")
    put(tenant, 1)
    tenant.commit()
    assert items() == [1]


def test_a_batch_inside_a_transaction_is_part_of_it(tenant: driver.Connection, items: Items) -> None:
    tenant.begin()
    tenant.execute_batch([("INSERT INTO item (v) VALUES (%s)", [n]) for n in range(3)])
    tenant.rollback()
    assert items() == []


def test_a_second_begin_and_a_savepoint_outside_are_errors(tenant: driver.Connection) -> None:
    with pytest.raises(driver.OperationalError, match=r"begin\(\) first"):
        tenant.savepoint("a")
    tenant.begin()
    with pytest.raises(driver.OperationalError, match="within a transaction"):
        tenant.begin()


@pytest.mark.parametrize("over", ["relay", "rest"])
def test_d1_has_no_transactions_and_says_what_to_do(request: pytest.FixtureRequest, over: str) -> None:
    connection = driver.connect(request.getfixturevalue(over), D1)
    assert not connection.supports_transactions
    with pytest.raises(driver.NotSupportedError, match=r"execute_batch\(\)"):
        connection.begin()


def test_closing_a_connection_rolls_back(
    tenant: driver.Connection, relay: RelayTransport, items: Items
) -> None:
    other = driver.connect(relay, tenant.database)
    other.begin()
    put(other, 1)
    other.close()
    assert items() == []


def test_a_lease_that_runs_out_ends_the_transaction_until_it_is_rolled_back(
    tenant: driver.Connection, relay: RelayTransport, items: Items
) -> None:
    other = driver.connect(relay, tenant.database, lease=0.1)
    other.begin()
    put(other, 1)
    # Another client's turn comes when the lease has run out.
    elsewhere = RelayTransport(relay.pool.url, relay.pool._token)
    assert driver.connect(elsewhere, tenant.database).execute("SELECT v FROM item").fetchall() == []
    elsewhere.close()
    with pytest.raises(driver.OperationalError, match="lease") as caught:
        put(other, 2)
    assert (caught.value.kind, caught.value.effect) == ("lease_expired", "ended")
    with pytest.raises(driver.OperationalError, match="Roll back before you go on"):
        put(other, 3)
    with pytest.raises(driver.OperationalError, match="Roll back before you go on"):
        other.commit()
    assert other.in_transaction
    other.rollback()
    put(other, 4)
    assert items() == [4]


@pytest.mark.parametrize("afterwards", [[], ["PRAGMA defer_foreign_keys = off"]])
def test_foreign_keys_that_were_deferred_are_checked_at_commit(
    tenant: driver.Connection, items: Items, afterwards: list[str]
) -> None:
    tenant.execute("CREATE TABLE child (item INTEGER REFERENCES item (id))")
    tenant.begin()
    tenant.execute("PRAGMA defer_foreign_keys = on")
    tenant.execute("INSERT INTO child VALUES (99)")
    for sql in afterwards:
        tenant.execute(sql)
    with pytest.raises(driver.IntegrityError, match="^FOREIGN KEY constraint failed: child row 1") as caught:
        tenant.commit()
    assert caught.value.sqlite_code == "SQLITE_CONSTRAINT_FOREIGNKEY"
    tenant.rollback()
    assert tenant.execute("SELECT count(*) FROM child").fetchone() == (0,)


def test_a_batch_that_deferred_foreign_keys_for_a_while_is_checked_too(
    tenant: driver.Connection, items: Items
) -> None:
    tenant.execute("CREATE TABLE child (item INTEGER REFERENCES item (id))")
    pragma = "PRAGMA defer_foreign_keys = {}"
    batch = [pragma.format("on"), "INSERT INTO child VALUES (99)", pragma.format("off")]
    with pytest.raises(driver.IntegrityError, match="FOREIGN KEY constraint failed"):
        tenant.execute_batch([(sql, None) for sql in batch])
    assert tenant.execute("SELECT count(*) FROM child").fetchone() == (0,)


def test_two_threads_that_add_to_one_number_lose_nothing(
    tenant: driver.Connection, relay: RelayTransport, items: Items
) -> None:
    put(tenant, 0)

    def add() -> None:
        with driver.connect(relay, tenant.database) as connection:
            for _ in range(10):
                connection.begin()
                (value,) = connection.execute("SELECT v FROM item").fetchone() or (None,)
                connection.execute("UPDATE item SET v = %s", [value + 1])
                connection.commit()

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert items() == [20]


def test_one_thread_holds_transactions_on_several_objects_in_one_session(
    tenant: driver.Connection, relay: RelayTransport, items: Items
) -> None:
    with driver.connect(relay, f"{tenant.database}-b") as other:
        other.execute("CREATE TABLE item (v)")
        tenant.begin()
        put(tenant, 1)
        other.begin()
        put(other, 2)
        assert driver.connect(relay, D1).execute("SELECT 1").fetchone() == (1,)
        assert len(relay.pool._sessions) == 1
        tenant.rollback()
        other.commit()
        assert other.execute("SELECT v FROM item").fetchall() == [(2,)]
    assert items() == []


def test_a_forgotten_transaction_is_rolled_back(
    tenant: driver.Connection, relay: RelayTransport, items: Items
) -> None:
    forgotten = driver.connect(relay, tenant.database)
    forgotten.begin()
    put(forgotten, 1)
    del forgotten
    assert items() == []
    assert [session.holders for session in relay.pool._sessions] == [0]


# What interrupts a finalizer the interpreter reports, and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_was_interrupted_in_a_savepoint_is_undone_with_it(
    tenant: driver.Connection, items: Items
) -> None:
    def save_and_put() -> None:
        tenant.savepoint("a")
        put(tenant, 2)

    def try_it(line: int) -> bool:
        tenant.begin()
        put(tenant, 1)
        if not interrupted(save_and_put, line, _FILES):
            return False
        try:
            tenant.rollback_to("a")
            put(tenant, 3)
            tenant.commit()
            assert items() == [1, 3], f"after an interrupt before line {line}"
        except driver.OperationalError:
            tenant.rollback()
            assert items() == [], f"after an interrupt before line {line}"
        tenant.execute("DELETE FROM item")
        return True

    line = 1
    while try_it(line):
        line += 1
    assert line > 50
