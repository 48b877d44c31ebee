"""A transaction that has nothing to commit ends without a round trip."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from do_bridge import driver


def trips_of(work: Callable[[], Any]) -> tuple[int, Any]:
    with driver.count_trips() as trips:
        value = work()
    return trips.count, value


def block(connection: driver.Connection, end: Callable[[], None], *statements: str) -> list[Any]:
    connection.begin()
    found = [connection.execute(sql).fetchall() for sql in statements]
    end()
    return found


def test_a_block_that_reads_costs_its_statements(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    reads = ["SELECT count(*) FROM item", "SELECT 2"]
    assert trips_of(lambda: block(tenant, tenant.commit, *reads)) == (2, [[(0,)], [(2,)]])


def test_a_rollback_costs_no_trip(tenant: driver.Connection, items: Callable[[], list[Any]]) -> None:
    assert trips_of(lambda: block(tenant, tenant.rollback, "INSERT INTO item (v) VALUES (1)"))[0] == 1
    # Another client waits its turn, and sees none of it.
    assert items() == []


def test_answers_that_nobody_waited_for_are_not_taken_for_others(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    for number in range(50):
        assert block(tenant, tenant.commit, f"SELECT {number}") == [[(number,)]]
        assert block(tenant, tenant.rollback, f"INSERT INTO item (v) VALUES ({number})") == [[]]
    assert tenant.execute("SELECT count(*) FROM item").fetchone() == (0,)
    assert items() == []


def test_the_object_is_free_for_others_at_once(
    tenant: driver.Connection, items: Callable[[], list[Any]]
) -> None:
    found: list[Any] = []
    tenant.begin()
    tenant.execute("SELECT v FROM item")
    other = threading.Thread(target=lambda: found.append(items()))
    other.start()
    tenant.commit()
    other.join(timeout=5)
    assert found == [[]]


def test_a_block_that_reads_ends_well_though_the_connection_is_lost(
    cuttable: driver.Connection, proxy: Any, items: Callable[[], list[Any]]
) -> None:
    for end in (cuttable.commit, cuttable.rollback):
        cuttable.begin()
        cuttable.execute("SELECT v FROM item")
        proxy.cut()
        end()
        assert cuttable.execute("SELECT v FROM item").fetchall() == []
    cuttable.begin()
    cuttable.execute("INSERT INTO item (v) VALUES (1)")
    proxy.cut()
    cuttable.rollback()
    assert items() == []
