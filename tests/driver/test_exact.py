"""Whole numbers beyond 2^53 arrive exact, or not at all."""

from __future__ import annotations

import pytest

from do_bridge import driver

EDGES = [2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("key", EDGES)
def test_a_large_primary_key_reads_back_exact(connection: driver.Connection, table: str, key: int) -> None:
    connection.execute(f"INSERT INTO {table} (id, v) VALUES (%s, %s)", [key, "text"])
    assert connection.execute(f"SELECT * FROM {table} WHERE id = %s", [key]).fetchone() == (key, "text", None)


def test_large_floats_texts_and_blobs_beside_a_large_integer_stay_what_they_are(
    connection: driver.Connection, table: str
) -> None:
    values = [2**53 + 1, 1e300, 1e17, 1e22, -1e18, "i5", "t", b"i7", None, 5, 0.5]
    connection.cursor().executemany(f"INSERT INTO {table} (v) VALUES (%s)", [[value] for value in values])
    rows = connection.execute(f"SELECT v, v AS v, id FROM {table} ORDER BY id").fetchall()
    assert [row[0] for row in rows] == values
    assert [type(row[1]) for row in rows] == [type(value) for value in values]
    assert [row[2] for row in rows] == list(range(1, len(values) + 1))


def test_the_second_question_keeps_order_names_and_parameters(connection: driver.Connection) -> None:
    sql = (
        "WITH n(x) AS (VALUES (9007199254740993), (3), (9007199254740995)) "
        "SELECT x AS a, x AS a, %s AS b FROM n ORDER BY 1 DESC LIMIT 2; -- the largest; "
    )
    cursor = connection.execute(sql, ["p"])
    assert cursor.fetchall() == [(2**53 + 3, 2**53 + 3, "p"), (2**53 + 1, 2**53 + 1, "p")]
    assert [column[0] for column in cursor.description or ()] == ["a", "a", "b"]


def test_a_hundred_columns_can_be_asked_for_again(connection: driver.Connection) -> None:
    columns = ", ".join(str(2**53 + 1 + 2 * n) for n in range(100))
    assert connection.execute(f"SELECT {columns}").fetchone() == tuple(2**53 + 1 + 2 * n for n in range(100))


def test_a_value_that_differs_each_time_it_is_computed_is_read_once(connection: driver.Connection) -> None:
    values = "VALUES (1)" + ", (1)" * 60
    sql = f"WITH n(x) AS ({values}) SELECT iif(random() % 2, 9007199254740993, 'text') FROM n"
    assert {row[0] for row in connection.execute(sql).fetchall()} == {2**53 + 1, "text"}


def test_only_a_doubtful_number_costs_a_second_trip(connection: driver.Connection) -> None:
    with driver.count_trips() as trips:
        connection.execute("SELECT 9007199254740991, 1e300")
    assert trips.count == 1
    with driver.count_trips() as trips:
        connection.execute("SELECT 9007199254740992")
    assert trips.count == 2


def test_a_transaction_reads_its_own_large_numbers(tenant: driver.Connection, items: object) -> None:
    tenant.begin()
    tenant.execute("INSERT INTO item (v) VALUES (%s)", [2**62 + 1])
    assert tenant.execute("SELECT v FROM item").fetchone() == (2**62 + 1,)
    tenant.rollback()


def test_reads_of_one_batch_are_asked_for_again_together(connection: driver.Connection) -> None:
    first, second = connection.execute_batch([("SELECT 1", None), ("SELECT %s", [2**60 + 1])])
    assert (first.rows, second.rows) == ([(1,)], [(2**60 + 1,)])


def test_returning_a_large_number_says_that_the_write_was_done(
    connection: driver.Connection, table: str
) -> None:
    with pytest.raises(driver.DataError, match="'id'.*has been carried out") as caught:
        connection.execute(f"INSERT INTO {table} (id) VALUES (%s) RETURNING id", [2**53 + 1])
    assert caught.value.effect == "done"
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_a_read_in_a_batch_with_writes_is_not_asked_for_again(
    connection: driver.Connection, table: str
) -> None:
    with pytest.raises(driver.DataError, match="writes of the batch have been carried out"):
        connection.execute_batch(
            [(f"INSERT INTO {table} (v) VALUES (1)", None), ("SELECT 9007199254740993", None)]
        )


def test_a_rounded_last_row_id_is_not_given(connection: driver.Connection, table: str) -> None:
    cursor = connection.execute(f"INSERT INTO {table} (id) VALUES (%s)", [2**53 + 1])
    assert cursor.lastrowid is None
