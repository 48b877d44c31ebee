"""What PEP 249 asks of a module, a connection and a cursor."""

from __future__ import annotations

import logging

import pytest

from do_bridge import driver

from .conftest import D1


def test_the_module_has_its_globals_and_exceptions() -> None:
    assert (driver.apilevel, driver.threadsafety, driver.paramstyle) == ("2.0", 1, "format")
    assert issubclass(driver.Warning, Exception)
    assert issubclass(driver.InterfaceError, driver.Error)
    for name in ("Data", "Operational", "Integrity", "Internal", "Programming", "NotSupported"):
        error = getattr(driver, f"{name}Error")
        assert issubclass(error, driver.DatabaseError)
        assert getattr(driver.Connection, f"{name}Error") is error


def test_the_type_constructors_make_what_can_be_bound(tenant: driver.Connection) -> None:
    values = [
        driver.Date(2026, 1, 2),
        driver.Time(3, 4, 5),
        driver.Timestamp(2026, 1, 2, 3, 4, 5),
        driver.DateFromTicks(0),
        driver.TimeFromTicks(0),
        driver.TimestampFromTicks(0),
        driver.Binary(b"x"),
    ]
    row = tenant.execute("SELECT %s, %s, %s, %s, %s, %s, %s", values).fetchone()
    assert row == (*(str(value) for value in values[:-1]), b"x")


def test_a_cursor_describes_and_fetches(connection: driver.Connection) -> None:
    cursor = connection.cursor()
    assert cursor.description is None
    cursor.execute("SELECT value AS n FROM json_each('[1,2,3,4,5,6]')")
    assert cursor.description == (("n", None, None, None, None, None, None),)
    assert cursor.rowcount == -1
    assert cursor.fetchone() == (1,)
    assert cursor.fetchmany() == [(2,)]
    assert cursor.fetchmany(2) == [(3,), (4,)]
    assert next(cursor) == (5,)
    assert cursor.fetchall() == [(6,)]
    assert cursor.fetchone() is None
    assert list(cursor) == []


def test_columns_of_one_name_are_kept_apart(connection: driver.Connection) -> None:
    assert connection.execute("SELECT 1 AS id, 2 AS id").fetchall() == [(1, 2)]


def test_an_empty_result_still_has_its_columns(connection: driver.Connection, table: str) -> None:
    cursor = connection.execute(f"SELECT id, v FROM {table}")
    assert [column[0] for column in cursor.description or ()] == ["id", "v"]
    assert cursor.fetchall() == []


def test_a_write_gives_its_row_count_and_last_id(connection: driver.Connection, table: str) -> None:
    cursor = connection.cursor()
    cursor.execute(f"INSERT INTO {table} (v) VALUES (%s), (%s), (%s)", [1, 2, 3])
    assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (3, 3, None)
    cursor.execute(f"UPDATE {table} SET v = 0 WHERE id > %s", [1])
    assert (cursor.rowcount, cursor.lastrowid) == (2, 3)
    cursor.execute(f"DELETE FROM {table} WHERE id = 99")
    assert cursor.rowcount == 0
    cursor.execute(f"CREATE INDEX {table}_v ON {table} (v)")
    assert cursor.rowcount == -1


def test_returning_gives_rows_and_count_in_one_trip(connection: driver.Connection, table: str) -> None:
    with driver.count_trips() as trips:
        cursor = connection.execute(f"INSERT INTO {table} (v) VALUES ('a'), ('b') RETURNING id, v")
    assert cursor.fetchall() == [(1, "a"), (2, "b")]
    assert (cursor.rowcount, cursor.lastrowid, trips.count) == (2, 2, 1)


def test_executemany_is_one_atomic_trip(connection: driver.Connection, table: str) -> None:
    cursor = connection.cursor()
    with driver.count_trips() as trips:
        cursor.executemany(f"INSERT INTO {table} (u) VALUES (%s)", [[str(n)] for n in range(200)])
    assert (cursor.rowcount, trips.count) == (200, 1)
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed"):
        cursor.executemany(f"INSERT INTO {table} (u) VALUES (%s)", [["new"], ["7"]])
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (200,)


def test_executemany_with_nothing_does_nothing(connection: driver.Connection) -> None:
    with driver.count_trips() as trips:
        cursor = connection.cursor().executemany("INSERT INTO t VALUES (%s)", [])
    assert (cursor.rowcount, trips.count) == (0, 0)


def test_executemany_refuses_a_read(connection: driver.Connection) -> None:
    with pytest.raises(driver.ProgrammingError, match="that write"):
        connection.cursor().executemany("SELECT %s", [[1]])


def test_executemany_that_is_too_large_for_one_request_is_cut(
    connection: driver.Connection, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [["x" * 1_000_000] for _ in range(12)]
    connection.transport.max_request = lambda deadline: 5_000_000  # type: ignore[method-assign]
    with driver.count_trips() as trips, caplog.at_level(logging.WARNING, "do_bridge.driver"):
        cursor = connection.cursor().executemany(f"INSERT INTO {table} (v) VALUES (%s)", rows)
    assert cursor.rowcount == 12
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (12,)
    assert trips.count == (4 if connection.supports_transactions else 3)
    assert ("3 atomic chunks" in caplog.text) is not connection.supports_transactions


def test_a_write_whose_answer_is_too_large_is_undone_or_said_to_stand(
    request: pytest.FixtureRequest, tenant: driver.Connection
) -> None:
    count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 32)"
    for connection in (tenant, driver.connect(request.getfixturevalue("relay"), D1)):
        connection.execute("DROP TABLE IF EXISTS large")
        connection.execute("CREATE TABLE large (v)")
        with pytest.raises(driver.DataError, match="Split the work") as caught:
            connection.execute(f"INSERT INTO large {count} SELECT i FROM n RETURNING hex(zeroblob(500000))")
        (stand,) = connection.execute("SELECT count(*) FROM large").fetchone() or ()
        assert (stand, caught.value.effect) == ((0, "none") if connection is tenant else (32, "unknown"))
        assert ("Read the data before you repeat it" in str(caught.value)) is bool(stand)
    connection.execute("DROP TABLE large")


def test_the_rows_of_cascades_are_not_counted(connection: driver.Connection, table: str) -> None:
    connection.execute(f"CREATE TABLE {table}_c (t REFERENCES {table} (id) ON DELETE CASCADE)")
    connection.execute(f"INSERT INTO {table} (id) VALUES (1), (2)")
    connection.execute(f"INSERT INTO {table}_c VALUES (1), (1), (1)")
    try:
        none, both, again = connection.execute_batch(
            [(f"DELETE FROM {table} WHERE id {which}", None) for which in ("> 2", "< 3", "< 3")]
        )
        assert (none.rowcount, both.rowcount, again.rowcount) == (0, 2, 0)
    finally:
        connection.execute(f"DROP TABLE {table}_c")


def test_a_batch_is_atomic_and_gives_each_result(connection: driver.Connection, table: str) -> None:
    with driver.count_trips() as trips:
        first, nothing, second = connection.execute_batch(
            [(f"INSERT INTO {table} (u) VALUES (%s)", ["a"]), ("", None), (f"SELECT u FROM {table}", None)]
        )
    assert (first.rowcount, first.lastrowid, trips.count) == (1, 1, 1)
    assert (nothing.rows, second.columns, second.rows, second.rowcount) == ([], ["u"], [("a",)], -1)
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed"):
        connection.execute_batch(
            [
                (f"DELETE FROM {table}", None),
                (f"INSERT INTO {table} (id, u) VALUES (1, 'b'), (1, 'c')", None),
            ]
        )
    assert connection.execute(f"SELECT u FROM {table}").fetchall() == [("a",)]


def test_an_empty_statement_is_no_trip(connection: driver.Connection) -> None:
    with driver.count_trips() as trips:
        assert connection.execute(" -- nothing").fetchall() == []
    assert trips.count == 0


def test_after_close_everything_is_a_programming_error(relay: driver.Transport, tenant_name: str) -> None:
    connection = driver.connect(relay, tenant_name)
    cursor = connection.execute("SELECT 1")
    closed = connection.execute("SELECT 1")
    closed.close()
    closed.close()
    with pytest.raises(driver.ProgrammingError, match="closed cursor"):
        closed.fetchone()
    connection.close()
    connection.close()
    assert connection.closed
    for call in (
        connection.cursor,
        connection.commit,
        connection.rollback,
        connection.begin,
        cursor.fetchall,
    ):
        with pytest.raises(driver.ProgrammingError, match="closed connection"):
            call()


def test_commit_and_rollback_outside_a_transaction_do_nothing(connection: driver.Connection) -> None:
    with driver.count_trips() as trips:
        connection.commit()
        connection.rollback()
    assert trips.count == 0


@pytest.mark.parametrize("name", ["acme", "do:", "x:acme"])
def test_a_database_without_its_kind_is_refused(relay: driver.Transport, name: str) -> None:
    with pytest.raises(driver.InterfaceError, match="do:<object>"):
        driver.connect(relay, name)


def test_the_log_shows_the_work_and_never_a_parameter(
    tenant: driver.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        tenant.execute("SELECT %s", ["hidden-value"])
    assert f"batch {tenant.database}" in caplog.text
    assert "1 rows" in caplog.text
    assert "hidden-value" not in caplog.text
