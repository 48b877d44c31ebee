"""The guard of the SQL page, which runs only statements that read."""

import time
from dataclasses import dataclass
from typing import Any

from do_bridge import driver
from do_bridge.driver.sql import bare, shape_of, tokens

ROW_LIMIT = 500
SECONDS = 5.0
LONGEST = 50_000
# The driver may end a statement this much (seconds) before its time is over.
_ROUNDING = 0.05

# Table-valued functions. `pragma_optimize` writes statistics, whatever the statement around it.
READING_PRAGMAS = frozenset(
    {
        "pragma_foreign_key_check",
        "pragma_foreign_key_list",
        "pragma_index_info",
        "pragma_index_list",
        "pragma_index_xinfo",
        "pragma_quick_check",
        "pragma_table_info",
        "pragma_table_list",
        "pragma_table_xinfo",
    }
)
# Opcodes of SQLite's virtual machine that change a database file or the connection's state.
WRITING_OPCODES = frozenset(
    {
        "AutoCommit", "Checkpoint", "Clear", "CreateBtree", "Destroy", "DropIndex", "DropTable",
        "DropTrigger", "Expire", "FkCounter", "IncrVacuum", "JournalMode", "LoadAnalysis", "MaxPgcnt",
        "OpenWrite", "ParseSchema", "ResetCount", "Savepoint", "SetCookie", "SqlExec", "VBegin",
        "VCreate", "VDestroy", "VRename", "VUpdate", "Vacuum",
    }
)  # fmt: skip
_READING_VERBS = frozenset({"SELECT", "VALUES"})
_PARAMETER_SIGNS = frozenset("?:@$#")
_VIEWS = "SELECT sql FROM sqlite_master WHERE type = 'view' AND instr(lower(sql), 'pragma_')"


class Refused(Exception):
    """The statement does not certainly only read.

    The message gives the reason, and nothing was run.
    """


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


def single_statement(sql):
    """Return the statement without what follows it.

    Raises Refused unless it is one plain query.
    """
    if len(sql) > LONGEST:
        raise Refused(f"The statement is longer than {LONGEST:,} characters. Shorten it.")
    if "\0" in sql:
        raise Refused("The statement has a NUL character in it, where SQLite would stop reading. Remove it.")
    text = bare(sql)
    shape = shape_of(text)
    if not shape.verb:
        raise Refused("The statement is empty.")
    _check_signs(text)
    if shape.verb not in _READING_VERBS or not shape.reads_only:
        raise Refused(f"Only SELECT, VALUES and WITH … SELECT can be run here, not {shape.verb[:20]}.")
    _check_pragmas(text)
    return text


def _check_signs(text):
    depth = 0
    for sign, *_ in tokens(text):
        if sign == ";":
            raise Refused("Only one statement can be run. Remove the text after the semicolon.")
        if sign in _PARAMETER_SIGNS:
            # "$a(';)" is one word to SQLite and the start of a string to other parsers.
            raise Refused(f"Parameters can't be used here. Write the value in place of {sign!r}.")
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            raise Refused("The statement closes a parenthesis that it has not opened.")
    if depth:
        raise Refused("The statement does not close a parenthesis.")


def _check_pragmas(text):
    """Refuse pragmas that may write, anywhere in the text.

    They may be used as tables, and their names may be quoted.
    """
    for part in text.lower().split("pragma_")[1:]:
        name = "pragma_"
        for char in part:
            if not (char.isascii() and (char.isalnum() or char == "_")):
                break
            name += char
        if name not in READING_PRAGMAS:
            raise Refused(f"{name[:60]} may change the database. Only pragmas that read can be used.")


def check_program(rows):
    """Raise Refused if a statement's program writes.

    `rows` are the result of EXPLAIN.
    """
    if not rows:
        raise Refused("SQLite has no program for this statement, so it cannot be checked.")
    writing = {row[1] for row in rows} & WRITING_OPCODES
    if writing or any(row[1] == "Transaction" and row[3] != 0 for row in rows):
        raise Refused("The statement would write, and only statements that read can be run here.")


def check_reads(run: Any, text: str, params: Any = None) -> None:
    """Raise Refused unless one query, a SELECT or VALUES, certainly only reads.

    `run(sql, params)` sends a statement to the database and returns its Result.
    """
    _check_pragmas(text)
    program = run(f"EXPLAIN {text}", params)
    check_program(program.rows)
    if any(row[1] == "VOpen" for row in program.rows):
        for (view,) in run(_VIEWS, None).rows:
            _check_pragmas(view)


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
