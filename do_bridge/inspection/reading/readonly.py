"""The guard of the SQL page, which runs only statements that read."""

import time
from dataclasses import dataclass

from do_bridge import driver
from do_bridge.backends.remote_sqlite.read_only import check_reads, single_statement

ROW_LIMIT = 500
SECONDS = 5.0
# The driver may end a statement this much (seconds) before its time is over.
_ROUNDING = 0.05


class TimeOver(driver.OperationalError):
    """The statement took longer than its time, and may still be running."""


@dataclass(frozen=True)
class Answer:
    """The result of a statement: at most the limit's rows.

    `is_cut` if there were more; `seconds` it took.
    """

    columns: list
    rows: list
    is_cut: bool
    seconds: float


def run(database, sql, *, limit=ROW_LIMIT, offset=0, seconds=SECONDS):
    """Run one reading statement on an `Inspected` database.

    Returns its Answer with at most `limit` rows. Raises Refused, and the driver's errors: OperationalError
    also when it takes longer than `seconds`.
    """
    text = single_statement(sql)
    # Nothing that writes can stand inside a FROM, and the database itself stops at the limit.
    start = time.perf_counter()
    (result,) = _guarded(database, text, [_limited(text, limit, offset)], seconds)
    return _answer(result, limit, start)


def _limited(text, limit, offset=0):
    behind = f" OFFSET {int(offset)}" if offset else ""
    return f"SELECT * FROM (\n{text}\n) LIMIT {int(limit) + 1}{behind}"  # noqa: S608 - checked before


def _answer(result, limit, start):
    spent = time.perf_counter() - start
    return Answer(result.columns, result.rows[:limit], len(result.rows) > limit, spent)


def run_with_plan(database, sql, *, limit=ROW_LIMIT, seconds=SECONDS):
    """Run one reading statement, and return its Answer and that of its plan.

    The Answers are as those of `run` and `plan`.
    """
    text = single_statement(sql)
    start = time.perf_counter()
    wanted = [f"EXPLAIN QUERY PLAN {text}", _limited(text, limit)]
    planned, result = _guarded(database, text, wanted, seconds)
    return _answer(result, limit, start), Answer(planned.columns, planned.rows, False, 0)


def plan(database, sql, *, seconds=SECONDS):
    """Return the Answer of EXPLAIN QUERY PLAN for one reading statement.

    Raises as `run` does.
    """
    text = single_statement(sql)
    start = time.perf_counter()
    (result,) = _guarded(database, text, [f"EXPLAIN QUERY PLAN {text}"], seconds)
    return Answer(result.columns, result.rows, False, time.perf_counter() - start)


def _guarded(database, text, wanted, seconds):
    """Check the program of `text`, then run the statements `wanted`.

    Return their results. In a Durable Object they run in a transaction that is rolled back.
    """
    until = time.monotonic() + seconds
    with database.connect(seconds) as connection:
        if connection.supports_transactions:
            connection.begin()
        try:
            check_reads(lambda sql, params=None: _only(connection, sql, until), text)
            return [_only(connection, statement, until) for statement in wanted]
        except driver.OperationalError as error:
            if time.monotonic() < until - _ROUNDING:
                raise
            raise TimeOver(
                f"The statement took longer than {seconds:g} seconds, so its result was dropped. It may "
                "still be running, because SQLite can't be interrupted. Narrow it with WHERE or LIMIT."
            ) from error
        finally:
            if connection.in_transaction:
                _roll_back(connection)


def _only(connection, sql, until):
    """Send one statement alone.

    In a batch D1 needs different names for all columns.
    """
    # The seconds are for all statements of a page together.
    connection.timeout = max(until - time.monotonic(), 0.01)
    return connection.execute_batch([(sql, None)])[0]


def _roll_back(connection):
    try:
        connection.rollback()
    except driver.Error:
        # The statement's own error is the one to show; the lease ends an open transaction.
        connection.close()
