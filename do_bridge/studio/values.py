"""Values, results and errors as Hrana writes them in JSON."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, Final

from do_bridge import driver
from do_bridge.driver.results import Result

# JSON has no infinity, but JavaScript reads a number that is too large as one.
_HUGE: Final = 10**309


class Refusal(Exception):
    """A request that is not carried out; `code` is for programs."""

    def __init__(self, message: str, code: str = "HRANA_PROTO_ERROR") -> None:
        super().__init__(message)
        self.code = code


def decode(value: Any) -> Any:
    """Return Python's value of a Hrana value. Raises Refusal."""
    try:
        kind = value["type"]
        if kind == "null":
            return None
        if kind == "integer":
            return int(value["value"])
        if kind == "float":
            return float(value["value"])
        if kind == "text":
            return str(value["value"])
        if kind == "blob":
            text = value["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Refusal("A value of the request is not valid.") from error
    raise Refusal("A value of the request has an unknown type.")


def encode(value: Any) -> dict[str, Any]:
    """Return a Hrana value of Python's value."""
    if value is None:
        return {"type": "null"}
    if isinstance(value, int):
        return {"type": "integer", "value": str(int(value))}
    if isinstance(value, float):
        if math.isinf(value):
            return {"type": "float", "value": int(math.copysign(_HUGE, value))}
        return {"type": "float", "value": value}
    if isinstance(value, bytes):
        return {"type": "blob", "base64": base64.b64encode(value).decode()}
    return {"type": "text", "value": str(value)}


def statement_result(result: Result, seconds: float = 0.0, *, wants_rows: bool = True) -> dict[str, Any]:
    """Return a StmtResult. The types of columns are not known without their tables."""
    rows = result.rows if wants_rows else []
    return {
        "cols": [{"name": name, "decltype": None} for name in result.columns],
        "rows": [[encode(value) for value in row] for row in rows],
        "affected_row_count": max(result.rowcount, 0),
        "last_insert_rowid": None if result.lastrowid is None else str(result.lastrowid),
        "replication_index": None,
        "rows_read": 0,
        "rows_written": 0,
        "query_duration_ms": round(seconds * 1000, 3),
    }


def error_of(error: Exception) -> dict[str, Any]:
    """Return a Hrana error. Messages of the driver contain neither values nor tokens."""
    if isinstance(error, Refusal):
        return {"message": str(error), "code": error.code}
    code = error.sqlite_code if isinstance(error, driver.Error) else None
    return {"message": str(error), "code": code or "SQLITE_ERROR"}
