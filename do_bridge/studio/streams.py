"""Streams: each has a connection to the database, and perhaps an open transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from do_bridge import driver
from do_bridge.backends.remote_sqlite import read_only
from do_bridge.driver.results import Result
from do_bridge.driver.sql import shape_of

from .statements import bound, parameters, single, split, words_of
from .values import Refusal, decode, error_of, statement_result

_READ_ONLY: Final = (
    "This connection only reads. Run `manage.py relay studio` with --write to change the database."
)
_CONTROL: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})
_DEEPEST: Final = 50
# SQLAlchemy asks when it connects, and the runtime refuses the question. Connections share no cache.
_READ_UNCOMMITTED: Final = ["PRAGMA", "READ_UNCOMMITTED"]


class Stream:
    """One client's statements in their order."""

    def __init__(self, connect: Callable[[], driver.Connection], *, writes: bool) -> None:
        self._connection = connect()
        self._writes = writes
        self._texts: dict[int, str] = {}
        # Open savepoints. To release the first one is to commit, if it began the transaction.
        self._savepoints: list[str] = []
        self._began_by_savepoint = False

    def close(self) -> None:
        """Roll back what is open."""
        self._connection.close()

    def answer(self, request: Any) -> dict[str, Any]:
        """Carry one request out; return a StreamResult."""
        try:
            kind = request["type"]
            work = _WORK.get(kind)
            if work is None:
                raise Refusal(f"Requests of type {str(kind)[:40]!r} are not supported.")
            return {"type": "ok", "response": {"type": kind, **work(self, request)}}
        except (Refusal, driver.Error, read_only.Refused) as error:
            return {"type": "error", "error": error_of(error)}
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError):
            # The request is not what the protocol describes.
            return {"type": "error", "error": error_of(Refusal("The request is not valid."))}

    # Requests

    def _close(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.close()
        return {}

    def _execute(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": self._run(request["stmt"])}

    def _batch(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": self.run_batch(request["batch"])}

    def _sequence(self, request: Mapping[str, Any]) -> dict[str, Any]:
        for statement in split(self._text(request)):
            self._run_text(statement, None)
        return {}

    def _describe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        sql = single(self._text(request))
        shape = shape_of(sql)
        names = {place.number: place.name for place in parameters(sql)}
        described = [{"name": names.get(number)} for number in range(1, max(names, default=0) + 1)]
        columns: list[str] = []
        if shape.reads_only or words_of(sql) == _READ_UNCOMMITTED:
            # Clients expect no rows of a statement without columns.
            is_query = shape.verb in ("SELECT", "VALUES")
            text = f"SELECT * FROM (\n{sql}\n) LIMIT 0" if is_query else sql  # noqa: S608
            columns = self._run_text(*bound(text, [], {})).columns
        return {
            "result": {
                "params": described,
                "cols": [{"name": name, "decltype": None} for name in columns],
                "is_explain": shape.verb == "EXPLAIN",
                "is_readonly": shape.reads_only,
            }
        }

    def _store_sql(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._texts[int(request["sql_id"])] = str(request["sql"])
        return {}

    def _close_sql(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._texts.pop(int(request["sql_id"]), None)
        return {}

    def _get_autocommit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"is_autocommit": not self._connection.in_transaction}

    # Batches

    def run_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Run the steps whose conditions hold; return a BatchResult."""
        results: list[dict[str, Any] | None] = []
        errors: list[dict[str, Any] | None] = []
        for step in batch["steps"]:
            result = error = None
            condition = step.get("condition")
            if condition is None or self._holds(condition, results, errors):
                answered = self.answer({"type": "execute", "stmt": step["stmt"]})
                if answered["type"] == "ok":
                    result = answered["response"]["result"]
                else:
                    error = answered["error"]
            results.append(result)
            errors.append(error)
        return {"step_results": results, "step_errors": errors, "replication_index": None}

    def _holds(self, condition: Any, results: list[Any], errors: list[Any], depth: int = 0) -> bool:
        kind = condition["type"]
        if depth > _DEEPEST:
            raise Refusal("The condition of a step is nested too deeply.")
        if kind in ("ok", "error"):
            step = condition["step"]
            if not isinstance(step, int) or not 0 <= step < len(results):
                raise Refusal("The condition of a step names a later step.")
            return (results if kind == "ok" else errors)[step] is not None
        if kind == "not":
            return not self._holds(condition["cond"], results, errors, depth + 1)
        if kind in ("and", "or"):
            held = [self._holds(one, results, errors, depth + 1) for one in condition["conds"]]
            return all(held) if kind == "and" else any(held)
        if kind == "is_autocommit":
            return not self._connection.in_transaction
        raise Refusal("The condition of a step has an unknown type.")

    # Statements

    def _text(self, request: Mapping[str, Any]) -> str:
        if (sql := request.get("sql")) is not None:
            return str(sql)
        try:
            return self._texts[request["sql_id"]]
        except KeyError as error:
            raise Refusal("The statement names a text that was not stored.") from error

    def _run(self, stmt: Mapping[str, Any]) -> dict[str, Any]:
        sql = single(self._text(stmt))
        args = [decode(value) for value in stmt.get("args") or ()]
        named = {str(pair["name"]): decode(pair["value"]) for pair in stmt.get("named_args") or ()}
        start = time.perf_counter()
        result = self._run_text(*bound(sql, args, named))
        seconds = time.perf_counter() - start
        wanted = stmt.get("want_rows")
        return statement_result(result, seconds, wants_rows=wanted is None or bool(wanted))

    def _run_text(self, sql: str, params: list[Any] | None) -> Result:
        shape = shape_of(sql)
        if shape.verb in _CONTROL:
            self._control(words_of(sql))
            return Result([], [], -1, None)
        if shape.verb == "PRAGMA" and words_of(sql) == _READ_UNCOMMITTED:
            return Result(["read_uncommitted"], [(0,)], -1, None)
        try:
            return self._send(sql, params) if self._writes else self._read(sql, params)
        except driver.Error as error:
            if error.effect == "ended" and self._connection.in_transaction:
                self._end()
                self._connection.rollback()
            raise

    def _send(self, sql: str, params: list[Any] | None = None) -> Result:
        return self._connection.execute_batch([(sql, params)])[0]

    def _read(self, sql: str, params: list[Any] | None) -> Result:
        """Run a statement that only reads.

        If the database has transactions, run it in one that is rolled back.
        """
        shape = shape_of(sql)
        if not shape.reads_only:
            raise Refusal(_READ_ONLY, "SQLITE_READONLY")
        begins = self._connection.supports_transactions and not self._connection.in_transaction
        if begins:
            self._connection.begin()
        try:
            if shape.verb in ("SELECT", "VALUES"):
                read_only.check_reads(self._send, sql, params)
            return self._send(sql, params)
        finally:
            if begins and self._connection.in_transaction:
                self._connection.rollback()

    def _control(self, words: list[str]) -> None:
        """Begin or end a transaction or a savepoint."""
        connection, verb, name = self._connection, words[0], words[-1]
        if verb == "BEGIN":
            connection.begin()
        elif verb == "SAVEPOINT":
            self._begin_savepoint(name)
        elif not connection.in_transaction:
            raise Refusal(f"cannot {verb.lower()} - no transaction is active", "SQLITE_ERROR")
        elif verb == "ROLLBACK" and "TO" in words[1:3]:
            at = self._place(name)
            connection.rollback_to(_inner(at))
            del self._savepoints[at + 1 :]
        elif verb == "ROLLBACK":
            self._end()
            connection.rollback()
        elif verb == "RELEASE":
            self._release(self._place(name))
        else:
            self._commit()

    def _begin_savepoint(self, name: str) -> None:
        if not self._connection.in_transaction:
            self._connection.begin()
            self._began_by_savepoint = True
        self._connection.savepoint(_inner(len(self._savepoints)))
        self._savepoints.append(name)

    def _place(self, name: str) -> int:
        """Return the place of the innermost savepoint of this name."""
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at] == name:
                return at
        raise Refusal(f"no such savepoint: {name.lower()[:60]}", "SQLITE_ERROR")

    def _release(self, at: int) -> None:
        if at == 0 and self._began_by_savepoint:
            self._commit()
            return
        self._connection.release(_inner(at))
        del self._savepoints[at:]

    def _end(self) -> None:
        self._savepoints.clear()
        self._began_by_savepoint = False

    def _commit(self) -> None:
        self._end()
        if not self._writes:
            self._connection.rollback()
            return
        try:
            self._connection.commit()
        except driver.Error:
            self._connection.rollback()
            raise


def _inner(at: int) -> str:
    """Return the name of the savepoint at a place, whatever the client calls it."""
    return f"s{at}"


_WORK: Final[dict[str, Callable[[Stream, Mapping[str, Any]], dict[str, Any]]]] = {
    "batch": Stream._batch,
    "close": Stream._close,
    "close_sql": Stream._close_sql,
    "describe": Stream._describe,
    "execute": Stream._execute,
    "get_autocommit": Stream._get_autocommit,
    "sequence": Stream._sequence,
    "store_sql": Stream._store_sql,
}
