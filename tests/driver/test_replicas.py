"""Sessions of D1 over the real relay: what is sent with each request, and what is taken from its answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.replicas import FIRST_PRIMARY, FIRST_UNCONSTRAINED, in_session
from do_bridge.driver.sql import prepare
from do_bridge.driver.together import run_together
from do_bridge.driver.transport import Answer
from do_bridge.driver.transports.relay import RelayTransport

from .conftest import D1


class Visitor:
    """A D1Session that keeps the newest bookmark and counts what it was told."""

    def __init__(self, constraint: str = FIRST_UNCONSTRAINED) -> None:
        self.first = constraint
        self.bookmarks: list[str] = []
        self.covered: list[int | None] = []
        self.losses = 0
        self.refusals = 0

    def constraint(self, statements: Any) -> str:
        return self.bookmarks[-1] if self.bookmarks else self.first

    def seen(self, bookmark: str, covers: int | None) -> None:
        self.bookmarks.append(bookmark)
        self.covered.append(covers)

    def lost(self) -> None:
        self.losses += 1

    def refused(self) -> None:
        self.refusals += 1
        self.bookmarks.clear()


@pytest.fixture
def table(relay: RelayTransport) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    with driver.connect(relay, D1) as connection:
        connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)")
        yield name
        connection.execute(f"DROP TABLE {name}")


@pytest.fixture(params=["none", "optimistic"])
def visited(request: pytest.FixtureRequest, relay: RelayTransport) -> Iterator[Any]:
    """A connection with a visitor, in each mode of transactions."""
    with driver.connect(relay, D1, optimistic=request.param == "optimistic") as connection:
        connection.visitor = Visitor()  # type: ignore[attr-defined]
        connection.replicas = lambda: connection.visitor  # type: ignore[attr-defined]
        yield connection


def sessions(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame.get("session") for frame in frames]


def test_without_a_visitor_not_a_byte_is_different(relay: RelayTransport, frames: list[Any]) -> None:
    with driver.connect(relay, D1) as connection:
        connection.execute("SELECT 1 AS a")
        connection.replicas = lambda: None
        connection.execute("SELECT 1 AS a")
    plain = {"op": "batch", "db": D1, "steps": [{"sql": "SELECT 1 AS a"}]}
    assert frames == [plain, plain]


def test_reads_go_on_from_what_was_seen_and_take_one_trip_each(visited: Any, frames: list[Any]) -> None:
    with driver.count_trips() as trips:
        assert visited.execute("SELECT 1 AS a").fetchall() == [(1,)]
        first = visited.visitor.bookmarks[-1]
        visited.execute_batch([("SELECT 1 AS a", None), ("SELECT 2 AS b", None)])
    assert trips.count == 2
    assert sessions(frames) == [FIRST_UNCONSTRAINED, first]
    assert visited.visitor.covered == [None, None]


def test_a_write_goes_to_the_primary_and_what_follows_reads_it(
    visited: Any, table: str, frames: list[Any]
) -> None:
    visited.execute("SELECT 1 AS a")
    visited.execute(f"INSERT INTO {table} (v) VALUES ('x')")
    assert visited.execute(f"SELECT v FROM {table}").fetchall() == [("x",)]
    bookmarks = visited.visitor.bookmarks
    assert sessions(frames) == [FIRST_UNCONSTRAINED, FIRST_PRIMARY, bookmarks[1]]
    assert bookmarks[0] < bookmarks[1] <= bookmarks[2]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM sqlite_master LIMIT 1",
        "SELECT name FROM pragma_table_info('t')",
        "PRAGMA table_list",
        "EXPLAIN SELECT 1",
    ],
)
def test_the_schema_is_read_from_the_primary(visited: Any, frames: list[Any], sql: str) -> None:
    visited.execute(sql)
    assert sessions(frames) == [FIRST_PRIMARY]


def test_a_read_beside_a_write_is_the_primarys(visited: Any, table: str, frames: list[Any]) -> None:
    visited.execute_batch([(f"INSERT INTO {table} (v) VALUES (1)", None), ("SELECT 1 AS a", None)])
    assert sessions(frames) == [FIRST_PRIMARY]


def test_a_write_with_a_key_brings_its_bookmark(relay: RelayTransport, table: str, frames: list[Any]) -> None:
    visitor = Visitor()
    with driver.connect(relay, D1, write_keys=True) as connection:
        connection.replicas = lambda: visitor
        connection.execute(f"INSERT INTO {table} (v) VALUES (1)")
    assert set(sessions(frames)) == {FIRST_PRIMARY}
    assert visitor.bookmarks and not visitor.losses


def test_a_whole_block_is_the_primarys_and_its_commit_covers_what_it_tried(
    relay: RelayTransport, table: str, frames: list[Any]
) -> None:
    visitor = Visitor()
    with driver.connect(relay, D1, optimistic=True) as connection:
        connection.replicas = lambda: visitor
        connection.begin()
        connection.execute(f"SELECT v FROM {table}")
        connection.execute(f"INSERT INTO {table} (v) VALUES (1)")
        assert connection.execute(f"SELECT v FROM {table}").fetchall() == [(1,)]
        connection.commit()
        assert visitor.covered[-1] == visitor.losses
        connection.execute(f"SELECT v FROM {table}")
    assert set(sessions(frames[:-1])) == {FIRST_PRIMARY}
    assert sessions(frames)[-1] == visitor.bookmarks[-2]


def test_reserved_keys_are_the_primarys(relay: RelayTransport, table: str, frames: list[Any]) -> None:
    visitor = Visitor()
    with driver.connect(relay, D1, optimistic=True) as connection:
        connection.replicas = lambda: visitor
        connection.reserve_keys(table, 3)
    assert set(sessions(frames)) == {FIRST_PRIMARY}
    assert visitor.bookmarks


def test_a_write_that_fails_leaves_the_visitor_behind(visited: Any, table: str) -> None:
    visited.execute(f"INSERT INTO {table} (v) VALUES (1)")
    with pytest.raises(driver.IntegrityError, match="UNIQUE"):
        visited.execute(f"INSERT INTO {table} (v) VALUES (1)")
    assert visited.visitor.losses == 1


def test_reads_of_several_connections_travel_with_a_constraint_each(
    relay: RelayTransport, frames: list[Any]
) -> None:
    visitor, later = Visitor(), Visitor()
    other = "d1:d0b41d9e-0000-4000-8000-000000000007"
    statements = [prepare("SELECT 1 AS a", None)]
    with driver.connect(relay, D1) as one, driver.connect(relay, other) as two:
        one.replicas, two.replicas = lambda: visitor, lambda: later
        with driver.count_trips() as trips:
            run_together([(one, statements), (two, [prepare("PRAGMA table_list", None)])])
    assert trips.count == 1
    assert sessions(frames) == [FIRST_UNCONSTRAINED, FIRST_PRIMARY]
    assert visitor.covered == [None]
    assert later.covered == [0]


def test_what_a_connection_calls_is_marked_by_who_has_served_it(visited: Any) -> None:
    calls: list[Any] = []
    visited.on_call = calls.append
    visited.metered = lambda: True
    visited.execute_batch([("PRAGMA table_list", None), ("SELECT 1 AS a", None)])
    # The local runtime names no region.
    assert [(call.replica, call.region) for call in calls] == [(False, None)]


def test_the_rest_transport_refuses_a_session(rest: Any) -> None:
    with driver.connect(rest, D1) as connection:
        connection.replicas = Visitor
        with pytest.raises(driver.NotSupportedError, match="Use the relay"):
            connection.execute("SELECT 1")


def _failing(error: driver.Error, sent: list[str]) -> Any:
    """What answers the primary, and fails for everything else: the local runtime refuses nothing."""

    def send(constraint: str) -> list[Answer]:
        sent.append(constraint)
        if constraint == FIRST_PRIMARY:
            return [Answer()]
        raise error

    return send


@pytest.mark.parametrize(
    ("error", "refusals"),
    [
        (driver.OperationalError("D1 refused the bookmark", kind="bad_session"), 1),
        (driver.InternalError("internal error", kind="internal"), 1),
        (driver.OperationalError("no such table: t", kind="sql"), 0),
        (driver.OperationalError("no such column: c", kind="sql"), 0),
    ],
)
def test_what_a_stand_in_replica_cannot_answer_is_asked_once_at_the_primary(
    error: driver.Error, refusals: int
) -> None:
    visitor, sent = Visitor("a bookmark"), []  # type: ignore[var-annotated]
    in_session(visitor, [prepare("SELECT 1", None)], _failing(error, sent))
    assert sent == ["a bookmark", FIRST_PRIMARY]
    assert visitor.refusals == refusals


@pytest.mark.parametrize("kind", ["sql", "overloaded", "retry", None])
def test_any_other_error_of_a_stand_in_replica_is_raised(kind: str | None) -> None:
    visitor, sent = Visitor("a bookmark"), []  # type: ignore[var-annotated]
    with pytest.raises(driver.OperationalError, match="near"):
        in_session(
            visitor, [prepare("SELECT 1", None)], _failing(driver.OperationalError("near", kind=kind), sent)
        )
    assert sent == ["a bookmark"]
