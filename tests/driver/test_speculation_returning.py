"""RETURNING inside optimistic blocks on D1: what is returned is what the commit leaves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from do_bridge import driver

from .conftest import D1
from .test_speculation_conflicts import refused, transport  # noqa: F401 - a fixture


@pytest.fixture
def block(transport: Any) -> Iterator[driver.Connection]:  # noqa: F811
    """A connection with an open block."""
    with driver.connect(transport, D1, optimistic=True) as connection:
        connection.begin()
        yield connection


@pytest.fixture
def other(transport: Any) -> Iterator[driver.Connection]:  # noqa: F811
    """Another connection."""
    with driver.connect(transport, D1, optimistic=True) as connection:
        yield connection


@pytest.fixture
def made(other: driver.Connection) -> Iterator[str]:
    """A table with what a database makes by itself."""
    name = f"made_{uuid.uuid4().hex}"
    other.execute(
        f'CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, "v" TEXT, k UNIQUE, '
        "at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), r DEFAULT (random()), "
        "b BLOB DEFAULT (randomblob(8)), g TEXT AS (v || '-' || id))"
    )
    yield name
    other.execute(f"DROP TABLE {name}")


@pytest.fixture
def keyed(other: driver.Connection) -> Iterator[str]:
    """A table without rowid."""
    name = f"keyed_{uuid.uuid4().hex}"
    other.execute(f"CREATE TABLE {name} (k TEXT PRIMARY KEY, v, at DEFAULT (random())) WITHOUT ROWID")
    yield name
    other.execute(f"DROP TABLE {name}")


def test_one_row_is_returned_with_defaults_and_generated_columns_and_stays_so(
    block: driver.Connection, made: str
) -> None:
    sql = (
        f'INSERT INTO "{made}" ("v") VALUES (%s) RETURNING "{made}"."id", "v", at, r, b, g, typeof(r) AS kind'
    )
    cursor = block.execute(sql, ["a"])
    assert [name for name, *_ in cursor.description or ()] == ["id", "v", "at", "r", "b", "g", "kind"]
    returned = cursor.fetchall()
    assert (returned[0][0], returned[0][5], cursor.rowcount, cursor.lastrowid) == (1, "a-1", 1, 1)
    everything = f"SELECT id, v, at, r, b, g, typeof(r) FROM {made}"
    assert block.execute(everything).fetchall() == returned
    block.execute(f"UPDATE {made} SET k = 1")
    block.commit()
    assert block.execute(everything.replace(" r,", " CAST(r AS TEXT),")).fetchall() == [
        tuple(str(value) if at == 3 else value for at, value in enumerate(returned[0]))
    ]


def test_many_rows_are_returned_in_order_with_what_the_database_made(
    block: driver.Connection, made: str
) -> None:
    sql = f"INSERT INTO {made} (v) SELECT value FROM json_each(%s) WHERE true RETURNING id, v, at, r, g"
    returned = block.execute(sql, ['["c","a","b"]']).fetchall()
    assert [(row[0], row[1], row[4]) for row in returned] == [
        (1, "c", "c-1"),
        (2, "a", "a-2"),
        (3, "b", "b-3"),
    ]
    assert block.execute(f"SELECT id, v, at, r, g FROM {made} ORDER BY id").fetchall() == returned
    block.commit()
    stored = block.execute(f"SELECT id, v, at, r, g FROM {made} ORDER BY id").fetchall()
    assert stored == returned


def test_a_star_and_no_column_list_return_the_whole_row(
    block: driver.Connection, keyed: str, made: str
) -> None:
    assert block.execute(f"INSERT INTO {keyed} VALUES ('k', 1, 2) RETURNING *").fetchall() == [("k", 1, 2)]
    cursor = block.execute(f"INSERT INTO {made} DEFAULT VALUES RETURNING *")
    assert [name for name, *_ in cursor.description or ()] == ["id", "v", "k", "at", "r", "b", "g"]
    row = cursor.fetchone()
    block.commit()
    assert row is not None and row[0] == 1
    assert block.execute(f"SELECT r = {row[4]} FROM {made}").fetchall() == [(1,)]


def test_on_conflict_returns_the_rows_that_were_written(block: driver.Connection, made: str) -> None:
    block.execute(f"INSERT INTO {made} (v, k) VALUES ('old', 1)")
    nothing = block.execute(f"INSERT INTO {made} (v, k) VALUES ('x', 1) ON CONFLICT DO NOTHING RETURNING id")
    assert (nothing.fetchall(), nothing.rowcount) == ([], 0)
    update = "ON CONFLICT (k) DO UPDATE SET v = excluded.v RETURNING id, v"
    assert block.execute(f"INSERT INTO {made} (v, k) VALUES ('new', 1) {update}").fetchall() == [(1, "new")]
    rows = block.execute(f"INSERT INTO {made} (v, k) VALUES ('both', 2), ('newer', 1) {update}").fetchall()
    assert [v for _, v in rows] == ["both", "newer"] and rows[1][0] == 1
    block.commit()
    assert block.execute(f"SELECT id, v FROM {made} WHERE k = 2").fetchall() == [rows[0]]
    assert block.execute(f"SELECT count(*) FROM {made}").fetchone() == (2,)


def test_update_and_delete_return_their_rows(block: driver.Connection, made: str) -> None:
    block.execute(f"INSERT INTO {made} (v) VALUES ('a'), ('b'), ('c')")
    cursor = block.execute(
        f"UPDATE {made} AS m SET v = v || %s WHERE m.id > 1 RETURNING {made}.id, v, g", ["!"]
    )
    assert cursor.fetchall() == [(2, "b!", "b!-2"), (3, "c!", "c!-3")]
    cursor = block.execute(f"DELETE FROM {made} WHERE id > %s RETURNING id, v", [2])
    assert (cursor.fetchall(), cursor.rowcount) == ([(3, "c!")], 1)
    assert block.execute(f"UPDATE {made} SET v = 'z' WHERE id = 9 RETURNING id").fetchall() == []
    block.commit()
    assert block.execute(f"SELECT id, v FROM {made} ORDER BY id").fetchall() == [(1, "a"), (2, "b!")]


def test_one_row_of_a_table_without_rowid_works_and_several_are_refused(
    block: driver.Connection, keyed: str
) -> None:
    returned = block.execute(f"INSERT INTO {keyed} (k, v) VALUES ('a', 1.5) RETURNING k, v, at").fetchall()
    assert returned[0][:2] == ("a", 1.5)
    with pytest.raises(driver.NotSupportedError, match="WITHOUT ROWID"):
        block.execute(f"INSERT INTO {keyed} (k) VALUES ('b'), ('c') RETURNING k")
    assert block.execute(f"DELETE FROM {keyed} WHERE k = 'b' RETURNING k").fetchall() == []
    block.commit()
    assert block.execute(f"SELECT k, v, at = {returned[0][2]} FROM {keyed}").fetchall() == [("a", 1.5, 1)]


def test_a_row_that_another_block_changed_is_a_conflict(
    block: driver.Connection, other: driver.Connection, made: str
) -> None:
    other.execute(f"INSERT INTO {made} (v, k) VALUES ('a', 1), ('b', 2)")
    assert block.execute(f"UPDATE {made} SET k = k + 10 RETURNING v").fetchall() == [("a",), ("b",)]
    other.execute(f"UPDATE {made} SET v = 'changed' WHERE k = 2")
    refused(block)


def test_another_row_with_the_same_values_is_a_conflict(
    block: driver.Connection, other: driver.Connection, made: str
) -> None:
    other.execute(f"INSERT INTO {made} (v, k) VALUES ('a', 1), ('a', 2)")
    assert block.execute(f"UPDATE {made} SET v = 'b' WHERE k = 1 RETURNING v").fetchall() == [("b",)]
    other.execute(f"UPDATE {made} SET k = 3 - k + 10")
    other.execute(f"UPDATE {made} SET k = k - 10, v = 'b'")
    refused(block)


def test_rows_that_a_trigger_adds_are_refused_and_never_returned(
    block: driver.Connection, other: driver.Connection, made: str
) -> None:
    other.execute(
        f"CREATE TRIGGER {made}_more AFTER UPDATE ON {made} WHEN NEW.k = 1 BEGIN "
        f"UPDATE {made} SET v = 'by trigger' WHERE k = 2; END"
    )
    block.execute(f"INSERT INTO {made} (v, k) VALUES ('a', 1), ('b', 2)")
    with pytest.raises(driver.NotSupportedError, match="A trigger of the table writes other rows"):
        block.execute(f"UPDATE {made} SET v = 'c' WHERE k = 1 RETURNING id")
    assert block.execute(f"UPDATE {made} SET v = 'c' WHERE k = 2 RETURNING k").fetchall() == [(2,)]
    block.commit()


def test_a_write_that_fails_with_returning_is_undone_alone(block: driver.Connection, made: str) -> None:
    block.execute(f"INSERT INTO {made} (v, k) VALUES ('a', 1) RETURNING id")
    for values in ("('b', 1)", "('c', 3), ('b', 1)"):
        with pytest.raises(driver.IntegrityError, match="UNIQUE"):
            block.execute(f"INSERT INTO {made} (v, k) VALUES {values} RETURNING id")
    block.commit()
    assert block.execute(f"SELECT v FROM {made}").fetchall() == [("a",)]


def test_a_semicolon_in_the_text_of_a_returning_write_is_refused(block: driver.Connection, made: str) -> None:
    with pytest.raises(driver.NotSupportedError, match="Pass the text with the semicolon as a parameter"):
        block.execute(f"INSERT INTO {made} (v) VALUES ('a; b') RETURNING id")
    assert block.execute(f"INSERT INTO {made} (v) VALUES (%s) RETURNING v", ["a; b"]).fetchall() == [
        ("a; b",)
    ]
    block.commit()
