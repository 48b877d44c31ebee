"""A write that is declared the last of its transaction commits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

INSERT = "INSERT INTO item (v) VALUES (%s)"


def test_a_transaction_of_one_write_takes_one_trip(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    with driver.count_trips() as trips, tenant.last_write("INSERT INTO item"):
        tenant.begin()
        assert tenant.execute(INSERT, [1]).lastrowid == 1
        tenant.commit()
    assert (trips.count, items()) == (1, [1])


def test_a_transaction_commits_with_its_last_write(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    with driver.count_trips() as trips, tenant.last_write("INSERT INTO item"):
        tenant.begin()
        assert tenant.execute("SELECT count(*) FROM item").fetchone() == (0,)
        tenant.savepoint("s")
        assert tenant.execute(INSERT + " RETURNING v", [1]).fetchall() == [(1,)]
        tenant.release("s")
        tenant.commit()
    assert (trips.count, items()) == (2, [1])
    assert tenant.execute(INSERT, [2]).rowcount == 1


def test_another_write_does_not_commit(tenant: driver.Connection, items: Callable[[], list[Any]]) -> None:
    tenant.execute(INSERT, [3])
    with tenant.last_write("INSERT INTO item"):
        tenant.begin()
        tenant.execute("UPDATE item SET v = 1")
        tenant.rollback()
        tenant.begin()
        tenant.execute("DELETE FROM item")
        tenant.rollback()
        assert items() == [3]


def test_a_last_write_that_fails_leaves_nothing(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    tenant.execute(INSERT, [1])
    for first in ("SELECT 1", "UPDATE item SET v = 7"):
        with tenant.last_write("INSERT INTO item"):
            tenant.begin()
            tenant.execute(first)
            with pytest.raises(driver.IntegrityError, match="UNIQUE"):
                tenant.execute(INSERT, [7 if first.startswith("UPDATE") else 1])
            tenant.rollback()
        assert items() == [1]
    with tenant.last_write("INSERT INTO item"):
        tenant.begin()
        with pytest.raises(driver.IntegrityError, match="UNIQUE"):
            tenant.execute(INSERT, [1])
        tenant.rollback()
    assert items() == [1]


@pytest.mark.parametrize("first", ["SELECT 1", None])
def test_afterwards_it_reads_and_writes_no_more(
    tenant: driver.Connection, items: Callable[[], list[Any]], first: str | None
) -> None:
    with tenant.last_write("INSERT INTO item"):
        tenant.begin()
        if first:
            tenant.execute(first)
        tenant.execute(INSERT, [1])
        assert tenant.execute("SELECT v FROM item").fetchall() == [(1,)]
        with pytest.raises(driver.OperationalError, match="declared its last"):
            tenant.execute(INSERT, [2])
        tenant.rollback()
    assert items() == [1]


def test_a_write_in_several_requests_commits_with_the_last(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    from do_bridge.driver.sql import prepare

    rows = [prepare(INSERT, [f"{number}{'x' * 900_000}"]) for number in range(20)]
    with driver.count_trips() as trips, tenant.last_write("INSERT INTO item"):
        tenant.begin()
        tenant.run_many(rows)
        tenant.commit()
    assert trips.count == 2
    assert len(items()) == 20


@pytest.mark.parametrize("first", ["SELECT 1", None])
def test_a_last_write_whose_answer_is_lost_runs_once(
    cuttable: driver.Connection, proxy: Any, items: Callable[[], list[Any]], first: str | None
) -> None:
    cuttable.begin()
    if first:
        cuttable.execute(first)
    proxy.lose_answers = 1
    with cuttable.last_write("INSERT INTO item"):
        if first is None:
            cuttable.execute(INSERT, [1])
        else:
            with pytest.raises(driver.OperationalError, match="committed, but the answer") as caught:
                cuttable.execute(INSERT, [1])
            assert caught.value.effect == "done"
    cuttable.rollback()
    assert items() == [1]


def test_an_optimistic_block_of_one_write_takes_one_trip(relay: RelayTransport) -> None:
    database = "d1:d0b41d9e-0000-4000-8000-000000000008"
    with driver.connect(relay, database, optimistic=True) as connection:
        connection.execute("CREATE TABLE last_item (v)")
        try:
            with driver.count_trips() as trips, connection.last_write("INSERT INTO last_item"):
                connection.begin()
                connection.execute("INSERT INTO last_item VALUES (1)")
                connection.commit()
            assert trips.count == 1
            with connection.last_write("INSERT INTO last_item"):
                connection.begin()
                connection.execute("SELECT count(*) FROM last_item")
                connection.execute("INSERT INTO last_item VALUES (2)")
                connection.rollback()
            assert connection.execute("SELECT v FROM last_item").fetchall() == [(1,)]
        finally:
            connection.execute("DROP TABLE last_item")


def test_nothing_goes_on_behind_a_last_write_whose_answer_is_lost(
    cuttable: driver.Connection, proxy: Any, items: Callable[[], list[Any]]
) -> None:
    cuttable.begin()
    cuttable.execute(INSERT, [1])
    proxy.lose_answers = 1
    with (
        cuttable.last_write("INSERT INTO item"),
        pytest.raises(driver.OperationalError, match="committed, but the answer"),
    ):
        cuttable.execute(INSERT, [2])
    with pytest.raises(driver.OperationalError, match="The transaction has ended.*has been committed"):
        cuttable.execute(INSERT, [3])
    with pytest.raises(driver.OperationalError, match="The transaction has ended.*has been committed"):
        cuttable.commit()
    cuttable.rollback()
    assert items() == [1, 2]


def test_nothing_goes_on_behind_an_only_write_whose_outcome_is_unknown(
    cuttable: driver.Connection, proxy: Any, items: Callable[[], list[Any]]
) -> None:
    cuttable.write_keys = False
    cuttable.begin()
    proxy.lose_answers = 1
    with (
        cuttable.last_write("INSERT INTO item"),
        pytest.raises(driver.OperationalError, match="outcome of the write is unknown"),
    ):
        cuttable.execute(INSERT, [1])
    with pytest.raises(driver.OperationalError, match="The transaction has ended.*is unknown"):
        cuttable.execute(INSERT, [2])
    cuttable.rollback()
    assert items() == [1]
