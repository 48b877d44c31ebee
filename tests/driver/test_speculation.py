"""Optimistic transactions on a real local D1, over both transports: what a block sees, and what it leaves."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver

from .conftest import D1

Open = Callable[[], driver.Connection]
EXACT = [
    0,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    1.5,
    5.0,
    -0.1,
    1e300,
    5e-324,
    math.inf,
    -math.inf,
    None,
    "",
    "it's; a, 'text' \N{SNOWMAN} \N{MUSICAL SYMBOL G CLEF}",
    "nul\0inside",
    b"",
    b"\x00\xff'",
]


@pytest.fixture(params=["relay", "rest"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens optimistic connections over one transport."""
    made: list[driver.Connection] = []

    def connect() -> driver.Connection:
        made.append(driver.connect(request.getfixturevalue(request.param), D1, optimistic=True))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


@pytest.fixture
def block(opened: Open, item: str) -> driver.Connection:
    """A connection with an open block."""
    connection = opened()
    connection.begin()
    return connection


@pytest.fixture
def item(opened: Open) -> Iterator[str]:
    """An empty table ``(id, v, u UNIQUE)``."""
    name = f"item_{uuid.uuid4().hex}"
    connection = opened()
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, v, u TEXT UNIQUE)")
    yield name
    connection.execute(f"DROP TABLE {name}")


@pytest.fixture
def stored(opened: Open, item: str) -> Callable[[], list[Any]]:
    """Reads the values that are committed."""
    connection = opened()
    return lambda: [row[0] for row in connection.execute(f"SELECT v FROM {item} ORDER BY id").fetchall()]


Stored = Callable[[], list[Any]]


def test_a_block_reads_what_it_wrote_and_nobody_else_does(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    assert block.supports_transactions and block.in_transaction
    assert block.execute(f"SELECT count(*) FROM {item}").fetchone() == (0,)
    cursor = block.execute(f"INSERT INTO {item} (v) VALUES (%s), (%s)", ["a", "b"])
    assert (cursor.rowcount, cursor.lastrowid) == (2, 2)
    assert block.execute(f"SELECT id, v FROM {item} ORDER BY id").fetchall() == [(1, "a"), (2, "b")]
    assert block.execute(f"UPDATE {item} SET v = v || '!' WHERE id > %s", [1]).rowcount == 1
    assert block.execute(f"DELETE FROM {item} WHERE v = %s", ["a"]).rowcount == 1
    assert block.execute(f"DELETE FROM {item} WHERE v = %s", ["a"]).rowcount == 0
    assert stored() == []
    block.commit()
    assert stored() == ["b!"]


def test_a_rollback_leaves_nothing_and_costs_no_round_trip(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (1)")
    with driver.count_trips() as trips:
        block.rollback()
    assert (trips.count, stored(), block.in_transaction) == (0, [], False)
    block.begin()
    assert block.execute(f"SELECT v FROM {item}").fetchall() == []
    with driver.count_trips() as trips:
        block.commit()
    assert trips.count == 0


def test_each_statement_and_the_commit_cost_one_round_trip(block: driver.Connection, item: str) -> None:
    with driver.count_trips() as trips:
        block.execute(f"SELECT v FROM {item}")
        block.execute(f"SELECT v FROM {item}")
        for value in range(3):
            block.execute(f"INSERT INTO {item} (v) VALUES (%s)", [value])
        block.execute(f"SELECT v FROM {item}")
        block.savepoint("s")
        block.rollback_to("s")
        block.release("s")
    assert trips.count == 6
    with driver.count_trips() as trips:
        block.commit()
    # The database's first idempotency key makes their table.
    assert trips.count <= 2


def test_a_savepoint_undoes_what_follows_it_and_nested_ones_do_too(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    def put(value: int) -> None:
        block.execute(f"INSERT INTO {item} (v) VALUES (%s)", [value])

    put(1)
    block.savepoint("outer")
    put(2)
    block.savepoint("inner")
    put(3)
    block.rollback_to("inner")
    put(4)
    block.release("inner")
    assert [v for (v,) in block.execute(f"SELECT v FROM {item} ORDER BY id").fetchall()] == [1, 2, 4]
    block.rollback_to("outer")
    put(5)
    block.savepoint("again")
    put(6)
    block.release("outer")
    with pytest.raises(driver.OperationalError, match="no such savepoint: again"):
        block.rollback_to("again")
    block.commit()
    assert stored() == [1, 5, 6]


def test_a_swallowed_error_undoes_its_statement_alone(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    block.execute(f"INSERT INTO {item} (v, u) VALUES (1, 'same')")
    with pytest.raises(driver.IntegrityError, match=r"UNIQUE constraint failed: .*\.u") as caught:
        block.execute(f"INSERT INTO {item} (v, u) VALUES (2, 'other'), (3, 'same')")
    assert (caught.value.effect, caught.value.sqlite_code) == ("statement", "SQLITE_CONSTRAINT_UNIQUE")
    with pytest.raises(driver.OperationalError, match="no such table: nowhere"):
        block.execute("SELECT * FROM nowhere")
    with pytest.raises(driver.OperationalError, match="no such column: absent"):
        block.execute(f"SELECT absent FROM {item}")
    block.execute(f"INSERT INTO {item} (v, u) VALUES (4, 'other')")
    block.commit()
    assert stored() == [1, 4]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_values_are_exact_to_the_type_inside_a_block(block: driver.Connection, item: str, value: Any) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (%s)", [value])
    ((read, kind),) = block.execute(f"SELECT v, typeof(v) FROM {item}").fetchall()
    assert (read, type(read)) == (value, type(value))
    returned = block.execute(f"INSERT INTO {item} (v) VALUES (%s) RETURNING v, typeof(v)", [value]).fetchall()
    assert returned == [(value, kind)] and type(returned[0][0]) is type(value)
    block.commit()
    block.begin()
    # What was read before the first write is compared with it.
    assert len(block.execute(f"SELECT v FROM {item}").fetchall()) == 2
    block.execute(f"INSERT INTO {item} (v) VALUES (0)")
    block.commit()


def test_many_columns_and_columns_with_the_same_name_keep_their_places(
    block: driver.Connection, item: str
) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (7)")
    cursor = block.execute(f"SELECT {', '.join(f'v + {n} AS c{n}' for n in range(100))} FROM {item}")
    assert cursor.fetchall() == [tuple(7 + n for n in range(100))]
    assert [name for name, *_ in cursor.description or ()] == [f"c{n}" for n in range(100)]
    cursor = block.execute(f"SELECT a.id, b.id, a.v, count(*), 'x' FROM {item} a JOIN {item} b USING (v)")
    assert cursor.fetchall() == [(1, 1, 7, 1, "x")]
    assert [name for name, *_ in cursor.description or ()] == ["id", "id", "v", "count(*)", "'x'"]


def test_a_star_and_an_alias_without_as_are_looked_up_once(block: driver.Connection, item: str) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (7)")
    for expected in (2, 1):
        with driver.count_trips() as trips:
            cursor = block.execute(f"SELECT *, v + 1 more FROM {item} -- all of it\n;")
        assert ([name for name, *_ in cursor.description or ()], trips.count) == (
            ["id", "v", "u", "more"],
            expected,
        )
        assert cursor.fetchall() == [(1, 7, None, 8)]
    block.execute(f"ALTER TABLE {item} ADD COLUMN w DEFAULT 3")
    cursor = block.execute(f"SELECT *, v + 1 more FROM {item} -- all of it\n;")
    assert cursor.fetchall() == [(1, 7, None, 3, 8)]


@pytest.mark.parametrize(
    "sql",
    [
        "VALUES (1, 'a'), (2, 'b')",
        "WITH n(a, b) AS (VALUES (1, 'a'), (2, 'b')) SELECT a, b FROM n",
        "SELECT 1 AS a, 'a' AS b UNION ALL SELECT 2, 'b' ORDER BY 1",
        "SELECT value AS a, char(96 + value) AS b FROM json_each('[2,1]') ORDER BY value",
    ],
)
def test_every_kind_of_read_keeps_its_rows_and_their_order(
    block: driver.Connection, item: str, sql: str
) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (7)")
    assert block.execute(sql).fetchall() == [(1, "a"), (2, "b")]
    block.commit()


def test_pragmas_and_plans_can_be_read_inside_a_block(block: driver.Connection, item: str) -> None:
    assert [row[1] for row in block.execute(f"PRAGMA table_info({item})").fetchall()] == ["id", "v", "u"]
    block.execute(f"ALTER TABLE {item} ADD COLUMN w")
    for argument in (item, f'"{item}"', f"'{item}'"):
        rows = block.execute(f"PRAGMA table_info({argument})").fetchall()
        assert [row[1] for row in rows] == ["id", "v", "u", "w"]
    assert block.execute("PRAGMA foreign_key_check").fetchall() == []
    assert block.execute(f"EXPLAIN QUERY PLAN SELECT v FROM {item}").fetchall()
    block.rollback()


def test_tables_made_in_a_block_are_there_for_it_and_gone_after_a_rollback(block: driver.Connection) -> None:
    name = f"made_{uuid.uuid4().hex}"
    block.execute(f"CREATE TABLE {name} (a, at DEFAULT CURRENT_TIMESTAMP)")
    block.execute(f"INSERT INTO {name} (a) VALUES (1)")
    assert block.execute(f"SELECT a FROM {name}").fetchall() == [(1,)]
    block.rollback()
    with pytest.raises(driver.OperationalError, match="no such table"):
        block.execute(f"SELECT a FROM {name}")


def test_an_answer_larger_than_a_message_is_fetched_in_parts(
    block: driver.Connection, item: str, opened: Open
) -> None:
    rows = [("x" * 20_000 + str(number),) for number in range(60)]
    block.execute(f"INSERT INTO {item} (v) SELECT value FROM json_each(%s)", [_json(rows)])
    with driver.count_trips() as trips:
        assert block.execute(f"SELECT v FROM {item} ORDER BY id").fetchall() == rows
    assert trips.count >= 4
    block.commit()
    block.begin()
    assert block.execute(f"SELECT v FROM {item} ORDER BY id").fetchall() == rows
    block.execute(f"INSERT INTO {item} (v) VALUES (1)")
    other = opened()
    other.execute(f"UPDATE {item} SET v = 'changed' WHERE id = 60")
    with pytest.raises(driver.TransactionConflict, match="Run the whole block again"):
        block.commit()
    block.rollback()


def test_a_row_larger_than_a_message_is_refused_and_the_block_goes_on(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (%s)", ["y" * 900_000])
    with pytest.raises(driver.DataError, match="A row takes more than 500,000 bytes"):
        block.execute(f"SELECT v FROM {item}")
    assert block.execute(f"SELECT length(v) FROM {item}").fetchone() == (900_000,)
    block.commit()
    assert stored() == ["y" * 900_000]


def test_too_many_writes_are_refused_with_the_ways_around(relay: Any, item: str) -> None:
    connection = driver.connect(relay, D1, optimistic=True, max_writes=3)
    connection.begin()
    for value in range(3):
        connection.execute(f"INSERT INTO {item} (v) VALUES (%s)", [value])
    with pytest.raises(driver.OperationalError, match=r"more than 3 writes.*bulk_create.*do_bridge.batch"):
        connection.execute(f"INSERT INTO {item} (v) VALUES (3)")
    connection.commit()
    assert connection.execute(f"SELECT count(*) FROM {item}").fetchone() == (3,)


def test_several_writes_at_once_cost_one_round_trip_and_give_their_counts(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    with driver.count_trips() as trips:
        results = block.execute_batch(
            [
                (f"INSERT INTO {item} (v) VALUES (1), (2)", None),
                (f"UPDATE {item} SET v = v + 10", None),
                (f"DELETE FROM {item} WHERE v > %s", [11]),
                (f"UPDATE {item} SET v = 0 WHERE v = 99", None),
            ]
        )
    assert ([result.rowcount for result in results], trips.count) == ([2, 2, 1, 0], 1)
    block.commit()
    assert stored() == [11]


def test_of_several_writes_those_before_a_failed_one_stand(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    insert = f"INSERT INTO {item} (v, u) VALUES (%s, 'same')"
    with pytest.raises(driver.IntegrityError, match="UNIQUE") as caught:
        block.execute_batch([(insert, [1]), (insert, [2]), (f"DELETE FROM {item}", None)])
    assert (caught.value.step, caught.value.effect) == (1, "statement")
    block.commit()
    assert stored() == [1]


def test_a_text_of_several_statements_is_refused(block: driver.Connection, item: str, stored: Stored) -> None:
    with pytest.raises(driver.NotSupportedError, match="Send them one by one"):
        block.execute(f"DELETE FROM {item}; SELECT 1")
    trigger = f"CREATE TRIGGER {item}_t AFTER INSERT ON {item} BEGIN SELECT 1; SELECT 2; END"
    block.execute(trigger)
    block.execute(f"INSERT INTO {item} (v) VALUES (1)")
    assert block.execute("PRAGMA foreign_keys").fetchall() == [(1,)]
    block.commit()
    assert stored() == [1]


def test_the_present_time_is_a_statements_own_each_time_it_is_repeated(
    block: driver.Connection, item: str, stored: Stored
) -> None:
    block.execute(f"INSERT INTO {item} (v) VALUES (strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW'))", [])
    first = block.execute(f"SELECT v FROM {item}").fetchall()
    assert block.execute(
        f"SELECT count(*) FROM {item} WHERE v <= datetime('now', '+1 second')"
    ).fetchone() == (1,)
    assert block.execute("SELECT CURRENT_TIMESTAMP").fetchone()
    assert block.execute(f"SELECT v FROM {item}").fetchall() == first
    block.execute(f"INSERT INTO {item} (v) VALUES ('now')")
    block.commit()
    assert stored() == [first[0][0], "now"]


def test_a_random_read_is_not_compared(block: driver.Connection, item: str, stored: Stored) -> None:
    block.execute(f"SELECT random(), v FROM {item} ORDER BY random()")
    block.execute(f"INSERT INTO {item} (v) VALUES (1)")
    block.execute("SELECT random()")
    block.commit()
    assert stored() == [1]


def test_foreign_keys_are_checked_at_the_commit(opened: Open) -> None:
    name = f"tree_{uuid.uuid4().hex}"
    connection = opened()
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, up INTEGER REFERENCES {name} (id))")
    connection.begin()
    connection.execute("PRAGMA defer_foreign_keys = on")
    connection.execute(f"INSERT INTO {name} VALUES (1, 2)")
    assert len(connection.execute("PRAGMA foreign_key_check").fetchall()) == 1
    connection.execute(f"INSERT INTO {name} VALUES (2, NULL)")
    connection.commit()
    connection.begin()
    connection.execute(f"INSERT INTO {name} VALUES (3, 99)")
    with pytest.raises(driver.IntegrityError, match="FOREIGN KEY constraint failed"):
        connection.commit()
    connection.rollback()
    assert connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall() == [(1,), (2,)]
    connection.execute(f"DELETE FROM {name}")
    connection.execute(f"DROP TABLE {name}")


def _json(rows: list[tuple[str]]) -> str:
    return json.dumps([value for (value,) in rows])
