"""What a connection tells of its requests: among the rest the rows that the runtime read and wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from do_bridge import driver
from do_bridge.driver.calls import Call, observe
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_pool import session_counts

Usage = list[tuple[int | None, int | None]]


@pytest.fixture
def usage(connection: driver.Connection, table: str) -> Callable[[], Usage]:
    """Rows read and written of the connection's requests from here on."""
    calls: list[Call] = []
    connection.execute(f"INSERT INTO {table} (v) SELECT value FROM json_each('[1,2,3,4,5]')")
    connection.on_call = calls.append
    connection.metered = lambda: True
    return lambda: [(call.rows_read, call.rows_written) for call in calls]


def test_a_request_tells_the_rows_that_all_its_statements_read_and_wrote(
    connection: driver.Connection, table: str, usage: Callable[[], Usage]
) -> None:
    connection.execute_batch(
        [
            (f"SELECT v FROM {table} WHERE id = %s", [3]),
            (f"SELECT id FROM {table} WHERE v > %s", [3]),
            (f"UPDATE {table} SET v = %s WHERE id = %s", [9, 3]),
        ]
    )
    assert usage() == [(1 + 5 + 1, 1)]


def test_a_read_alone_gives_the_same_rows_metered_or_not(
    connection: driver.Connection, table: str, usage: Callable[[], Usage]
) -> None:
    read = f"SELECT id, v FROM {table} WHERE v > %s ORDER BY id"
    for _ in range(2):
        cursor = connection.execute(read, [4])
        assert [column[0] for column in cursor.description or ()] == ["id", "v"]
        assert cursor.fetchall() == [(5, 5)]
    first, second = usage()
    assert second == (5, 0)
    assert first in [second, (None, None)]


def test_what_is_not_known_is_none(
    connection: driver.Connection, table: str, usage: Callable[[], Usage]
) -> None:
    with pytest.raises(driver.OperationalError, match="no such table: nowhere"):
        connection.execute("SELECT * FROM nowhere")
    assert usage() == [(None, None)]


def test_nobody_asks_for_them_unless_told_to(tenant: driver.Connection) -> None:
    calls: list[Call] = []
    tenant.on_call = calls.append
    tenant.execute("SELECT 1")
    tenant.metered = lambda: False
    tenant.execute("SELECT 1")
    assert [call.rows_read for call in calls] == [None, None]


def test_a_transaction_tells_those_of_each_of_its_requests(tenant: driver.Connection) -> None:
    tenant.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    calls: list[Call] = []
    tenant.on_call, tenant.metered = calls.append, lambda: True
    tenant.begin()
    tenant.execute("INSERT INTO t VALUES (1), (2)")
    tenant.execute("SELECT * FROM t")
    tenant.commit()
    assert [(call.operation, call.rows_read, call.rows_written) for call in calls] == [
        ("tx", 2, 2),
        ("tx", 2, 0),
        ("commit", None, None),
    ]


def test_observers_get_the_requests_of_every_connection_with_texts_and_without_values(
    connection: driver.Connection, table: str
) -> None:
    seen: list[Call] = []
    connection.name = "an alias"
    undo = observe(seen.append)
    try:
        connection.execute(f"INSERT INTO {table} (v) VALUES (%s)", ["planted-4711"])
        with pytest.raises(driver.OperationalError, match="no such table"):
            connection.execute("SELECT 1 FROM missing")
    finally:
        undo()
    connection.execute(f"SELECT v FROM {table}")
    assert [(call.name, call.statements, call.error) for call in seen] == [
        ("an alias", 1, None),
        ("an alias", 1, "OperationalError"),
    ]
    assert seen[0].sql[0].startswith(f"INSERT INTO {table}")
    assert "planted-4711" not in repr(seen)


def test_an_observer_decides_whether_rows_are_counted_and_is_registered_once(
    tenant: driver.Connection,
) -> None:
    seen: list[Call] = []
    needed = [True, False]

    def observer(call: Call) -> None:
        seen.append(call)

    undos = [observe(observer, needed_now := lambda: needed.pop(0)), observe(observer, needed_now)]
    try:
        tenant.execute("SELECT 1")
        tenant.execute("SELECT 1")
    finally:
        for undo in undos:
            undo()
    tenant.execute("SELECT 1")
    assert [call.rows_read for call in seen] == [0, None]


def test_sessions_are_counted_by_whether_they_are_in_use(relay: RelayTransport, tenant_name: str) -> None:
    with driver.connect(relay, tenant_name) as connection:
        connection.execute("SELECT 1")
        assert session_counts()[1] >= 1
        connection.begin()
        connection.execute("SELECT 1")
        assert session_counts()[0] >= 1
        connection.rollback()
