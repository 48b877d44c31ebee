"""Random blocks on several connections at once, against the same blocks one after the other on sqlite3."""

from __future__ import annotations

import os
import sqlite3
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

from .conftest import D1

EXAMPLES = int(os.environ.get("SPECULATION_EXAMPLES", "6"))
STEPS = 30
CONNECTIONS = 3
TABLE = "CREATE TABLE {} (id INTEGER PRIMARY KEY AUTOINCREMENT, v INTEGER, u INTEGER UNIQUE)"

numbers = st.integers(0, 3)
who = st.integers(0, CONNECTIONS - 1)
pairs = st.permutations(range(CONNECTIONS))
reads = st.sampled_from(
    [
        "SELECT id, v, u FROM {} ORDER BY id",
        "SELECT count(*), sum(v) FROM {} WHERE v >= ?",
        "SELECT v FROM {} WHERE u = ?",
        "SELECT max(id) FROM {}",
        "SELECT id FROM {} WHERE v = ? ORDER BY id LIMIT 1",
    ]
)
writes = st.sampled_from(
    [
        "INSERT INTO {} (v) VALUES (?)",
        "INSERT INTO {} (v, u) VALUES (1, ?)",
        "INSERT INTO {} (v, u) VALUES (2, ?) ON CONFLICT DO NOTHING",
        "INSERT INTO {} (v, u) VALUES (3, ?) ON CONFLICT (u) DO UPDATE SET v = v + 1",
        "INSERT INTO {} (v) SELECT v + 1 FROM {} WHERE v = ?",
        "UPDATE {} SET v = v + 1 WHERE v <= ?",
        "UPDATE {} SET v = (SELECT count(*) FROM {}) WHERE u = ?",
        "DELETE FROM {} WHERE v > ?",
        "DELETE FROM {} WHERE u = ?",
        "INSERT INTO {} (v) VALUES (?) RETURNING id, v",
        "UPDATE {} SET v = v + 1 WHERE v = ? RETURNING id, v",
    ]
)


class Block:
    """An open block: each statement with what was returned, and the places of savepoints."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, Any]] = []
        self.savepoints: list[tuple[str, int]] = []
        self.since = 0


class Blocks(RuleBasedStateMachine):
    """Blocks on D1, interleaved; each commit is repeated alone on sqlite3, with the same answers."""

    transport: RelayTransport
    all_commits = all_conflicts = 0

    def __init__(self) -> None:
        super().__init__()
        self.table = f"model_{uuid.uuid4().hex}"
        self.connections = [
            driver.connect(self.transport, D1, optimistic=True, timeout=60) for _ in range(CONNECTIONS)
        ]
        self.blocks: dict[int, Block] = {}
        self.commits = 0
        self.model = sqlite3.connect(":memory:", isolation_level=None)
        self.observer = driver.connect(self.transport, D1)
        self.observer.execute(TABLE.format(self.table))
        self.model.execute(TABLE.format(self.table))

    def teardown(self) -> None:
        for connection in self.connections:
            connection.close()
        self.observer.execute(f"DROP TABLE {self.table}")
        self.observer.close()
        self.model.close()

    def _block(self, number: int) -> Block:
        if number not in self.blocks:
            self.connections[number].begin()
            self.blocks[number] = Block()
            self.blocks[number].since = self.commits
        return self.blocks[number]

    @rule(number=who, sql=reads | writes, value=numbers)
    def run(self, number: int, sql: str, value: int) -> None:
        """Run a statement; an error of its own leaves the block open, and a conflict ends it."""
        block = self._block(number)
        text = sql.replace("{}", self.table)
        try:
            cursor = self.connections[number].execute(text.replace("?", "%s"), [value] if "?" in text else [])
        except driver.TransactionConflict:
            self._conflicted(number)
        except driver.IntegrityError as error:
            assert error.effect == "statement" and "UNIQUE" in str(error)
        else:
            block.told.append((text, value, (cursor.fetchall(), max(cursor.rowcount, 0))))

    @rule(chosen=pairs, read=reads, others=writes, own=writes, value=numbers, late=st.booleans())
    def overtake(self, chosen: list[int], read: str, others: str, own: str, value: int, late: bool) -> None:
        """Let one block commit before another one's first write or after it, which chance seldom does."""
        first, second = chosen[:2]
        self.run(first, read, value)
        if late:
            self.run(first, own, value)
        self.run(second, others, value)
        self.commit(second)
        if not late:
            self.run(first, own, value)
        self.commit(first)

    @rule(number=who)
    def savepoint(self, number: int) -> None:
        """Open one more savepoint."""
        block = self._block(number)
        name = f"s{len(block.savepoints)}"
        self.connections[number].savepoint(name)
        block.savepoints.append((name, len(block.told)))

    @rule(number=who)
    def roll_back_to(self, number: int) -> None:
        """Undo what follows the last savepoint."""
        block = self._block(number)
        if block.savepoints:
            name, place = block.savepoints[-1]
            self.connections[number].rollback_to(name)
            del block.told[place:]

    @rule(number=who)
    def roll_back(self, number: int) -> None:
        """Undo the block."""
        if self.blocks.pop(number, None) is not None:
            self.connections[number].rollback()

    @rule(number=who)
    def commit(self, number: int) -> None:
        """Commit; what was returned must be what the block alone, at this moment, would get."""
        if number not in self.blocks:
            return
        try:
            self.connections[number].commit()
        except driver.TransactionConflict:
            self._conflicted(number)
            return
        block = self.blocks.pop(number)
        wrote = any(not text.startswith("SELECT") for text, _, _ in block.told)
        if not wrote:
            return  # Nothing compares what a block read that writes nothing.
        self.commits += 1
        Blocks.all_commits += 1
        for text, value, told in block.told:
            cursor = self.model.execute(text, [value] if "?" in text else [])
            rows = cursor.fetchall()
            assert (rows, max(cursor.rowcount, 0)) == told, text

    def _conflicted(self, number: int) -> None:
        Blocks.all_conflicts += 1
        assert self.commits > self.blocks.pop(number).since, "a conflict without another block's commit"
        self.connections[number].rollback()

    @invariant()
    def the_same_rows_are_there(self) -> None:
        """Nobody sees anything but whole blocks."""
        sql = f"SELECT id, v, u FROM {self.table} ORDER BY id"
        assert self.observer.execute(sql).fetchall() == self.model.execute(sql).fetchall()


@pytest.mark.timeout(600)
def test_what_commits_is_what_the_same_blocks_give_one_after_the_other(relay: RelayTransport) -> None:
    class OverRelay(Blocks):
        transport = relay

    run_state_machine_as_test(
        OverRelay,
        settings=settings(
            max_examples=EXAMPLES,
            # The same examples each time; the nights take others.
            derandomize="SPECULATION_EXAMPLES" not in os.environ,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Blocks.all_commits} commits, {Blocks.all_conflicts} conflicts")  # noqa: T201
    assert Blocks.all_commits
