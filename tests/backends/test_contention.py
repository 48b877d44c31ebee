"""Threads of several processes that fight for the same rows of D1: no update is lost, none is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contending import ACCOUNTS, COUNTERS
from engine_aliases import settings_for

PROCESSES, THREADS, TASKS = 4, 8, 8
# Of each thread, besides the tasks.
ROUNDS = int(os.environ.get("CONTENTION_ROUNDS", "1"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)
def test_threads_of_four_processes_lose_no_update_and_run_no_task_twice(
    optimistic: Any, local_worker: Any, record_property: Any
) -> None:
    workers, tasks = PROCESSES * THREADS, TASKS * ROUNDS
    with optimistic.cursor() as cursor:
        cursor.execute("CREATE TABLE contended_counter (id INTEGER PRIMARY KEY, value INTEGER)")
        for number in range(COUNTERS):
            cursor.execute("INSERT INTO contended_counter VALUES (%s, 0)", [number + 1])
        cursor.execute(
            "CREATE TABLE contended_account (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= 0))"
        )
        for number in range(ACCOUNTS):
            cursor.execute("INSERT INTO contended_account VALUES (%s, 100)", [number + 1])
        cursor.execute("CREATE TABLE contended_book (id INTEGER PRIMARY KEY, a, b, amount)")
        cursor.execute("CREATE TABLE contended_task (id INTEGER PRIMARY KEY, taken_by)")
        cursor.execute("CREATE TABLE contended_run (id INTEGER PRIMARY KEY, task, by)")
        cursor.executemany("INSERT INTO contended_task (id) VALUES (%s)", [[n + 1] for n in range(tasks)])
    database = {**settings_for("d1_optimistic", local_worker), "TEST": {}}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("contending.py")),
                json.dumps({"database": database, "threads": THREADS, "rounds": ROUNDS, "name": str(number)}),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    reports = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    with optimistic.cursor() as cursor:
        cursor.execute("SELECT sum(value) FROM contended_counter")
        assert cursor.fetchone() == (workers * ROUNDS,)
        cursor.execute("SELECT id, balance FROM contended_account ORDER BY id")
        balances = dict(cursor.fetchall())
        cursor.execute("SELECT a, b, amount FROM contended_book")
        expected = dict.fromkeys(balances, 100)
        for one, other, amount in cursor.fetchall():
            expected[one] -= amount
            expected[other] += amount
        assert balances == expected
        cursor.execute("SELECT count(*), count(DISTINCT task) FROM contended_run")
        assert cursor.fetchone() == (tasks, tasks)
        cursor.execute(
            "SELECT count(*) FROM contended_task t "
            "JOIN contended_run r ON r.task = t.id AND r.by = t.taken_by"
        )
        assert cursor.fetchone() == (tasks,)
    done, attempts = (sum(report[key] for report in reports) for key in ("done", "attempts"))
    record_property("conflicts", attempts - done - workers)
    print(f"{done} blocks in {attempts} attempts of {workers} threads")  # noqa: T201
