"""The driver against Python's own sqlite3: any values, any texts, any order of transactions and errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport

D1 = "d1:d0b41d9e-0000-4000-8000-000000000007"
# FUZZ_EXAMPLES asks for so many examples, other ones each time.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 20,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = pytest.mark.timeout(120 + EXAMPLES)

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
# D1 gives an infinity as NULL.
FLOATS = st.floats(allow_infinity=False)
# Made by a function: the texts themselves would stand in every description of a strategy.
LARGE = st.sampled_from([5000]).map(lambda size: "x" * size) | st.sampled_from([5000]).map(bytes)
VALUES = st.none() | INTEGERS | FLOATS | TEXTS | st.binary(max_size=50) | LARGE
WORDS = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "t",
        "1",
        "'a",
        '"',
        "--",
        "/*",
        "*/",
        ";",
        "(",
        ")",
        "%s",
        "%",
        "%%",
        "?1",
        ":a",
        "\0",
        "[",
        "`",
    ]
    + [
        "INSERT INTO t VALUES",
        "WITH",
        "RETURNING",
        "PRAGMA",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "DROP TABLE t",
        "x'0'",
        "'",
    ]
)
SQL = st.lists(WORDS | st.text(max_size=5), max_size=12).map(" ".join)


@pytest.fixture(params=["object", "d1 by relay", "d1 by rest"])
def connection(request: pytest.FixtureRequest, local_worker: Any) -> Iterator[driver.Connection]:
    """A connection to each kind of database, over each transport."""
    transport: RestTransport | RelayTransport = RelayTransport(local_worker.url, local_worker.token)
    if request.param == "d1 by rest":
        transport = RestTransport(local_worker.api_base, "")
    name = f"do:test/gate/{uuid.uuid4().hex}" if request.param == "object" else D1
    with driver.connect(transport, name) as made:
        yield made
    transport.close()


@SETTINGS
@given(values=st.lists(VALUES, min_size=1, max_size=20))
def test_any_values_come_back_as_from_sqlite3(connection: driver.Connection, values: list[Any]) -> None:
    places = ", ".join(f"%s, typeof(%s), %s IS NULL AS n{number}" for number in range(len(values)))
    # Columns of their own names: D1 cannot tell others apart where it gives rows as objects.
    params = [value for value in values for _ in range(3)]
    (row,) = connection.execute(f"SELECT {places}", params).fetchall()
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        expected = model.execute(f"SELECT {places.replace('%s', '?')}", params).fetchone()
    assert row == expected


@SETTINGS
@given(sql=SQL, params=st.none() | st.lists(VALUES, max_size=3))
def test_any_text_is_an_answer_or_an_error_of_the_driver_and_the_connection_lives_on(
    connection: driver.Connection, sql: str, params: list[Any] | None
) -> None:
    try:
        connection.execute(sql, params).fetchall()
    except (driver.Error, UnicodeEncodeError) as error:
        note(repr(error))
        assert not any(
            isinstance(value, str) and len(value) > 20 and value in str(error) for value in params or []
        )
    assert connection.execute("SELECT %s", ["on"]).fetchone() == ("on",)


Work = tuple[Any, ...]
KEYS = st.integers(1, 9)
CONTROLS = ("savepoint", "release", "rollback_to")
WORK: st.SearchStrategy[Work] = st.one_of(
    st.tuples(st.just("INSERT INTO item VALUES (%s, %s)"), KEYS, VALUES),
    st.tuples(st.just("INSERT OR REPLACE INTO item VALUES (%s, %s) RETURNING typeof(v)"), KEYS, VALUES),
    st.tuples(st.just("UPDATE item SET id = %s WHERE id >= %s"), KEYS, KEYS),
    st.tuples(st.just("DELETE FROM item WHERE id = %s"), KEYS),
    st.tuples(st.sampled_from(["SELECT nothing", "SELECT count(*) FROM item"])),
    st.lists(KEYS, max_size=4).map(lambda keys: ("batch", *keys)),
    # Few names, so that they are met again.
    st.tuples(st.sampled_from(CONTROLS), st.sampled_from("ab")),
    st.tuples(st.sampled_from(CONTROLS), st.just("a")),
)
# Writes between savepoints, most of them of one name: what a rollback undoes depends on their order.
NESTED: st.SearchStrategy[Work] = st.one_of(
    st.tuples(st.just("INSERT INTO item VALUES (%s, %s)"), KEYS, INTEGERS),
    st.tuples(st.sampled_from(CONTROLS), st.sampled_from("aab")),
)


class Model(RuleBasedStateMachine):
    """One object beside one sqlite3 database in memory: each step does the same to both."""

    transport: RelayTransport

    @initialize()
    def start(self) -> None:
        name = f"do:test/gate/{uuid.uuid4().hex}"
        self.real = driver.connect(self.transport, name)
        self.other = driver.connect(self.transport, name)
        self.model = sqlite3.connect(":memory:", isolation_level=None)
        self.inside = False
        self.both("CREATE TABLE item (id INTEGER PRIMARY KEY, v UNIQUE)")

    def both(self, sql: str, params: Any = ()) -> None:
        """Run a statement on both; what comes, or how it fails, is the same."""
        outcomes = []
        for run, text in ((self.real.execute, sql), (self.model.execute, sql.replace("%s", "?"))):
            try:
                cursor: Any = run(text, params)
                rows = cursor.fetchall()
                outcomes.append(
                    (rows, cursor.rowcount, cursor.lastrowid if sql.startswith("INSERT") else None)
                )
            except (driver.Error, sqlite3.Error) as error:
                outcomes.append((type(error).__name__, str(error), None))
        assert outcomes[0] == outcomes[1]

    @rule(work=WORK)
    def alone(self, work: Work) -> None:
        if work[0] in CONTROLS and not self.inside:
            with pytest.raises(driver.OperationalError, match="No transaction is open"):
                getattr(self.real, work[0])(*work[1:])
        else:
            self.do(work)

    @rule(
        works=st.lists(WORK, max_size=15) | st.lists(NESTED, min_size=5, max_size=20),
        end=st.sampled_from(["commit", "commit", "rollback", "lose", "leave"]),
    )
    def transaction(self, works: list[Work], end: str) -> None:
        if not self.inside:
            self.real.begin()
            self.model.execute("BEGIN")
            self.inside = True
        for work in works:
            self.do(work)
        if end == "leave":
            return
        if end == "lose":
            # The relay rolls back what was open in a session that is gone.
            self.transport.close()
        (self.real.commit if end == "commit" else self.real.rollback)()
        self.model.execute("COMMIT" if end == "commit" else "ROLLBACK")
        self.inside = False

    def do(self, work: Work) -> None:
        """One statement, batch or savepoint on both."""
        what, *values = work
        if what in CONTROLS:
            self.control(what, values[0])
        elif what == "batch":
            self.batch(values)
        else:
            self.both(what, values)

    def batch(self, keys: list[int]) -> None:
        items = [("INSERT INTO item VALUES (%s, %s)", [key, f"batch {key}"]) for key in keys]
        failed = False
        if not self.inside:
            self.model.execute("BEGIN")
        try:
            for _, params in items:
                self.model.execute("INSERT INTO item VALUES (?, ?)", params)
        except sqlite3.IntegrityError:
            failed = True
        if not self.inside:
            self.model.execute("ROLLBACK" if failed else "COMMIT")
        with (
            pytest.raises(driver.IntegrityError, match="constraint failed")
            if failed
            else contextlib.nullcontext()
        ):
            self.real.execute_batch(items)

    def control(self, what: str, name: str) -> None:
        outcomes = []
        for run in (
            lambda: getattr(self.real, what)(name),
            lambda: self.model.execute(f"{what.replace('_', ' ')} {name}"),
        ):
            try:
                run()
                outcomes.append("")
            except (driver.Error, sqlite3.Error) as error:
                outcomes.append(f"{type(error).__name__} {error}")
        assert outcomes[0] == outcomes[1]

    @invariant()
    def the_rows_are_the_same(self) -> None:
        if hasattr(self, "model"):
            self.both("SELECT id, v, typeof(v) FROM item ORDER BY id")

    @precondition(lambda self: not self.inside)
    @invariant()
    def another_connection_sees_what_was_committed(self) -> None:
        if hasattr(self, "model"):
            rows = self.other.execute("SELECT id, v FROM item ORDER BY id").fetchall()
            assert rows == self.model.execute("SELECT id, v FROM item ORDER BY id").fetchall()

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.real.close()
            self.model.close()


def test_any_order_of_work_leaves_what_sqlite3_leaves(local_worker: Any) -> None:
    transport = RelayTransport(local_worker.url, local_worker.token)
    machine = type("Machine", (Model,), {"transport": transport})
    run_state_machine_as_test(machine, settings=settings(SETTINGS, stateful_step_count=6))  # type: ignore[no-untyped-call]
    transport.close()
