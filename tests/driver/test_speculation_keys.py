"""Keys that a block's INSERT has returned, while others move the table's counter."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Transport

from .conftest import D1
from .test_speculation_conflicts import refused, transport  # noqa: F401 - a fixture

COUNTED = "id INTEGER PRIMARY KEY AUTOINCREMENT, v, u UNIQUE"
INSERT = "INSERT INTO {} (v) VALUES (%s) RETURNING id"
OVERTAKEN = {
    "an insert that does nothing": ["INSERT INTO {} (v, u) VALUES (2, 1) ON CONFLICT DO NOTHING"],
    "a row that is gone again": ["INSERT INTO {} (v) VALUES (2)", "DELETE FROM {} WHERE v = 2"],
    "reserved keys": ["UPDATE sqlite_sequence SET seq = seq + 5 WHERE name = '{}'"],
    "a larger key by hand": ["INSERT INTO {} (id, v) VALUES (100, 2)"],
}


@pytest.fixture
def other(transport: Transport) -> Iterator[driver.Connection]:  # noqa: F811
    """Another process's connection, whose statements commit by themselves."""
    with driver.connect(transport, D1) as connection:
        yield connection


@pytest.fixture
def block(transport: Transport) -> Iterator[driver.Connection]:  # noqa: F811
    """A connection with an open block."""
    with driver.connect(transport, D1, optimistic=True) as connection:
        connection.begin()
        yield connection


@pytest.fixture
def table(other: driver.Connection) -> Iterator[str]:
    """A table whose keys are never used twice, with the row 1."""
    name = f"counted_{uuid.uuid4().hex}"
    other.execute(f"CREATE TABLE {name} ({COUNTED})")
    other.execute(f"INSERT INTO {name} (v, u) VALUES (1, 1)")
    yield name
    other.execute(f"DROP TABLE {name}")


@pytest.mark.parametrize("statements", OVERTAKEN.values(), ids=OVERTAKEN)
def test_a_block_does_not_keep_a_key_that_it_would_not_get_any_more(
    block: driver.Connection, other: driver.Connection, table: str, statements: list[str]
) -> None:
    assert block.execute(INSERT.format(table), ["mine"]).fetchall() == [(2,)]
    for statement in statements:
        other.execute(statement.format(table))
    refused(block)
    assert other.execute(f"SELECT count(*) FROM {table} WHERE v = 'mine'").fetchall() == [(0,)]
    block.rollback()
    block.begin()
    ((again,),) = block.execute(INSERT.format(table), ["mine"]).fetchall()
    block.commit()
    assert again > 2
    assert other.execute(f"SELECT id FROM {table} WHERE v = 'mine'").fetchall() == [(again,)]


def test_a_block_notices_the_moved_counter_with_its_next_statement(
    block: driver.Connection, other: driver.Connection, table: str
) -> None:
    block.execute(INSERT.format(table), ["mine"])
    other.execute(f"INSERT INTO {table} (v, u) VALUES (2, 1) ON CONFLICT DO NOTHING")
    with pytest.raises(driver.TransactionConflict, match="nothing of this one was written"):
        block.execute(f"UPDATE {table} SET v = 'again' WHERE v = 'mine'")


@pytest.mark.parametrize(
    ("columns", "end"),
    [
        ("id INTEGER PRIMARY KEY DEFAULT (abs(random()) % 1000000), v", "WITHOUT ROWID"),
        ("id INTEGER DEFAULT (abs(random()) % 1000000), n INTEGER DEFAULT 1, v, PRIMARY KEY (id, n)", ""),
        ("id INT PRIMARY KEY DEFAULT (abs(random()) % 1000000), v", ""),
    ],
    ids=["without rowid", "of two columns", "not the rowid"],
)
def test_a_key_that_a_default_makes_is_kept(
    block: driver.Connection, other: driver.Connection, columns: str, end: str
) -> None:
    name = f"made_{uuid.uuid4().hex}"
    other.execute(f"CREATE TABLE {name} ({columns}) {end}")
    try:
        returned = block.execute(INSERT.format(name), ["mine"]).fetchall()
        block.commit()
        assert other.execute(f"SELECT id FROM {name}").fetchall() == returned
    finally:
        other.execute(f"DROP TABLE {name}")


def test_several_rows_keep_no_keys_either(
    block: driver.Connection, other: driver.Connection, table: str
) -> None:
    insert = f"INSERT INTO {table} (v) SELECT value FROM json_each('[1,2]') RETURNING id"
    assert block.execute(insert).fetchall() == [(2,), (3,)]
    other.execute(f"INSERT INTO {table} (v, u) VALUES (2, 1) ON CONFLICT DO NOTHING")
    refused(block)


def test_a_key_that_only_lastrowid_has_told_is_not_kept_either(
    block: driver.Connection, other: driver.Connection, table: str
) -> None:
    assert block.execute(f"INSERT INTO {table} (v) VALUES ('mine')").lastrowid == 2
    other.execute(f"INSERT INTO {table} (v, u) VALUES (2, 1) ON CONFLICT DO NOTHING")
    refused(block)


def test_a_key_that_nobody_has_looked_at_is_no_conflict(
    block: driver.Connection, other: driver.Connection, table: str
) -> None:
    block.execute(f"INSERT INTO {table} (v) VALUES ('mine')")
    other.execute(f"INSERT INTO {table} (v, u) VALUES (2, 1) ON CONFLICT DO NOTHING")
    block.commit()
    assert other.execute(f"SELECT id FROM {table} WHERE v = 'mine'").fetchall() == [(3,)]
