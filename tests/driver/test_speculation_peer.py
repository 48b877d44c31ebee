"""The same random blocks on several connections to D1 and to PostgreSQL at SERIALIZABLE, interleaved."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from tests.postgres import PostgresServer, reason_to_skip

from .conftest import D1

EXAMPLES = int(os.environ.get("SPECULATION_EXAMPLES", "6"))
STEPS = 40
CONNECTIONS = 3
TABLE = "CREATE TABLE {} (id INTEGER PRIMARY KEY, v INTEGER NOT NULL, u INTEGER UNIQUE)"
ROWS = "INSERT INTO {} (id, v, u) VALUES (0, 0, 0), (1, 1, 1), (2, 2, NULL), (3, 3, 3)"
# All that a statement depends on is returned, so two databases that answer the same write the same.
READS = [
    "SELECT id, v, u FROM {} WHERE id = %s",
    "SELECT id, v, u FROM {} WHERE v >= %s ORDER BY id",
    "SELECT count(*), coalesce(sum(v), 0) FROM {} WHERE v <= %s",
    "SELECT max(id) FROM {} WHERE v <> %s",
]
WRITES = [
    "INSERT INTO {} (id, v, u) VALUES (4 + %s, 1, NULL) RETURNING id",
    "INSERT INTO {} (id, v, u) VALUES (8 + %s, 2, 5) ON CONFLICT DO NOTHING RETURNING id, v",
    "INSERT INTO {} (id, v, u) VALUES (12, 3, %s) ON CONFLICT (u) DO UPDATE SET v = {}.v + 1 RETURNING id, v",
    "INSERT INTO {} (id, v) SELECT id + 20, v + 1 FROM {} WHERE id = %s RETURNING id, v",
    "UPDATE {} SET v = v + 1 WHERE id = %s RETURNING id, v",
    "UPDATE {} SET v = v + 1 WHERE v = %s RETURNING id, v",
    "UPDATE {} SET v = (SELECT count(*) FROM {}) WHERE id = %s RETURNING id, v",
    "DELETE FROM {} WHERE id = %s RETURNING id, v, u",
    "DELETE FROM {} WHERE v > 2 + %s RETURNING id",
]
# Nobody else is at work, so a lock that is not there at once belongs to another block.
LOCK = "SET lock_timeout = '20ms'"
REFUSED = (psycopg.errors.SerializationFailure, psycopg.errors.LockNotAvailable)
who = st.integers(0, CONNECTIONS - 1)
pairs = st.permutations(range(CONNECTIONS))
texts = st.tuples(*map(st.sampled_from, (READS, WRITES, WRITES)))
numbers = st.integers(0, 3)


@dataclass
class Block:
    """An open block: what both have answered, and how many blocks had committed when it began."""

    since: int
    told: list[tuple[str, int, Any]] = field(default_factory=list)
    savepoints: list[int] = field(default_factory=list)

    @property
    def has_written(self) -> bool:
        """Whether a statement in it was a write."""
        return any(not sql.startswith("SELECT") for sql, _, _ in self.told)


class Peers(RuleBasedStateMachine):
    """A block commits in both databases or in none, so that both go on from the same rows.

    PostgreSQL reads from a snapshot, a block on D1 at the moment of each statement. If they answer
    differently, another block has committed since this one began, and it is rolled back.
    """

    transport: RelayTransport
    server: PostgresServer
    counted: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.table = f"peer_{uuid.uuid4().hex}"
        self.ours = [
            driver.connect(self.transport, D1, optimistic=True, timeout=60) for _ in range(CONNECTIONS)
        ]
        self.theirs = [psycopg.connect(self.server.dsn, autocommit=True) for _ in range(CONNECTIONS + 1)]
        self.observer = driver.connect(self.transport, D1)
        self.model = sqlite3.connect(":memory:", isolation_level=None)
        self.blocks: dict[int, Block] = {}
        self.commits = 0
        for connection in self.theirs:
            connection.execute(LOCK)
        for execute in (self.observer.execute, self.theirs[-1].execute, self.model.execute):
            for sql in (TABLE, ROWS):
                execute(sql.replace("{}", self.table))  # type: ignore[operator]

    def teardown(self) -> None:
        for connection in self.theirs[:-1]:
            connection.close()
        for text in (f"DROP TABLE {self.table}",):
            self.theirs[-1].execute(text)
            self.observer.execute(text)
        for one in (*self.ours, self.observer, self.theirs[-1], self.model):
            one.close()

    def _block(self, number: int) -> Block:
        if number not in self.blocks:
            self.ours[number].begin()
            self.theirs[number].execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            # The snapshot is taken by the first statement, not by BEGIN.
            self.theirs[number].execute(f"SELECT 1 FROM {self.table} LIMIT 0")
            self.blocks[number] = Block(self.commits)
        return self.blocks[number]

    def _end(self, number: int, why: str) -> None:
        """Roll a block back in both."""
        self.blocks.pop(number, None)
        self.ours[number].rollback()
        self.theirs[number].execute("ROLLBACK")
        self.counted[why] = self.counted.get(why, 0) + 1

    @rule(number=who, sql=st.sampled_from(READS) | st.sampled_from(WRITES), value=numbers)
    def run(self, number: int, sql: str, value: int) -> None:
        """Run a statement in both; the answers are the same unless another block has committed."""
        block = self._block(number)
        text = sql.replace("{}", self.table)
        try:
            theirs = self._run_theirs(number, text, value)
        except REFUSED:
            self._end(number, "refused by PostgreSQL")
            return
        try:
            ours = self._run_ours(number, text, value)
        except driver.TransactionConflict:
            assert self.commits > block.since, "a conflict without another block's commit"
            self._end(number, "conflicts on D1")
            return
        if ours != theirs:
            assert self.commits > block.since, (text, value, ours, theirs)
            self._end(number, "answers of different moments")
            return
        if ours != "UNIQUE":
            block.told.append((text, value, ours))

    def _run_ours(self, number: int, text: str, value: int) -> Any:
        try:
            return sorted(self.ours[number].execute(text, [value]).fetchall())
        except driver.IntegrityError as error:
            assert "UNIQUE" in str(error)
            return "UNIQUE"

    def _run_theirs(self, number: int, text: str, value: int) -> Any:
        connection = self.theirs[number]
        connection.execute("SAVEPOINT statement")
        try:
            rows = sorted(connection.execute(text, [value]).fetchall())  # type: ignore[arg-type]
        except psycopg.errors.UniqueViolation:
            connection.execute("ROLLBACK TO statement")
            return "UNIQUE"
        connection.execute("RELEASE statement")
        return rows

    @rule(chosen=pairs, texts=texts, values=st.tuples(numbers, numbers, numbers), late=st.booleans())
    def overtake(
        self, chosen: list[int], texts: tuple[str, ...], values: tuple[int, ...], late: bool
    ) -> None:
        """Let one block commit before another one's first write or after it, which chance seldom does."""
        first, second = chosen[:2]
        self.run(first, texts[0], values[0])
        if late:
            self.run(first, texts[1], values[1])
        self.run(second, texts[2], values[2])
        self.commit(second)
        if not late:
            self.run(first, texts[1], values[1])
        self.commit(first)

    @rule(number=who)
    def savepoint(self, number: int) -> None:
        """Open one more savepoint in both."""
        block = self._block(number)
        name = f"s{len(block.savepoints)}"
        self.ours[number].savepoint(name)
        self.theirs[number].execute(f"SAVEPOINT {name}")
        block.savepoints.append(len(block.told))

    @rule(number=who)
    def roll_back_to(self, number: int) -> None:
        """Undo in both what follows the last savepoint."""
        block = self.blocks.get(number)
        if block is not None and block.savepoints:
            name = f"s{len(block.savepoints) - 1}"
            self.ours[number].rollback_to(name)
            self.theirs[number].execute(f"ROLLBACK TO {name}")
            del block.told[block.savepoints[-1] :]

    @rule(number=who)
    def roll_back(self, number: int) -> None:
        """Undo the block in both."""
        if number in self.blocks:
            self._end(number, "rolled back")

    @rule(number=who)
    def commit(self, number: int) -> None:
        """Commit in both or in none; D1's answers are those of the block alone, at this moment."""
        block = self.blocks.get(number)
        if block is None:
            return
        theirs, name = self.theirs[number], f"{self.table}_{self.commits}_{number}"
        try:
            # Validates as COMMIT does, and can be undone if D1 refuses.
            theirs.execute(f"PREPARE TRANSACTION '{name}'")
        except REFUSED:
            self._end(number, "refused by PostgreSQL")
            return
        try:
            self.ours[number].commit()
        except driver.TransactionConflict:
            assert self.commits > block.since, "a conflict without another block's commit"
            theirs.execute(f"ROLLBACK PREPARED '{name}'")
            self._end(number, "conflicts on D1")
            return
        theirs.execute(f"COMMIT PREPARED '{name}'")
        del self.blocks[number]
        if block.has_written:
            self.commits += 1
            self.counted["commits in both"] = self.counted.get("commits in both", 0) + 1
            self._repeat(block)

    def _repeat(self, block: Block) -> None:
        for text, value, told in block.told:
            rows = self.model.execute(text.replace("%s", "?"), [value]).fetchall()
            assert sorted(rows) == told, text

    @invariant()
    def the_same_rows_are_there(self) -> None:
        """What both have committed has left the same rows, those of the blocks one after the other."""
        sql = f"SELECT id, v, u FROM {self.table} ORDER BY id"
        ours = self.observer.execute(sql).fetchall()
        assert ours == self.theirs[-1].execute(sql).fetchall()
        assert ours == self.model.execute(sql).fetchall()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


@pytest.mark.timeout(900)
def test_what_postgresql_and_d1_both_commit_leaves_the_same_rows(
    relay: RelayTransport, postgres: PostgresServer, record_property: Any
) -> None:
    found: dict[str, int] = {}

    class Both(Peers):
        transport, server, counted = relay, postgres, found

    run_state_machine_as_test(
        Both,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("blocks", found)
    print(", ".join(f"{count} {what}" for what, count in found.items()))  # noqa: T201
    assert found["commits in both"]
