"""Read the relay's frames, and turn them into results or errors.

A frame that the protocol does not have comes from another server, or from a relay of another version.
"""

from __future__ import annotations

import json
from types import NoneType
from typing import Any

from do_bridge.driver.exceptions import Error, OperationalError, error_from
from do_bridge.driver.replicas import Reached
from do_bridge.driver.transport import Answer

Frame = dict[str, Any]


def read_frame(data: bytes) -> Frame:
    """Return the frame in a message. Raises OperationalError for any other message."""
    try:
        text = data.decode()
        # A message may be large: at most one copy of it is kept while it is parsed.
        del data
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise unreadable() from None
    if not isinstance(frame, dict) or not isinstance(frame.get("id"), int | None):
        raise unreadable()
    return frame


def answers_of(frame: Frame, request: Frame) -> list[Answer] | Error:
    """Return the results of a request, or the error that its frame holds."""
    try:
        if "error" in frame:
            return _error(frame["error"])
        answers = [_answer(result) for result in frame["results"]]
        if "session" in frame:
            session = frame["session"]
            reached = Reached(session.get("bookmark"), session.get("region"), session.get("primary"))
            for answer in answers:
                answer.reached = reached
    except (AttributeError, KeyError, TypeError):
        return unreadable()
    return answers if _answers(answers, request) else unreadable()


def unreadable() -> OperationalError:
    """Return the error for a frame that is not the protocol's.

    What it answers may have been carried out.
    """
    return OperationalError(
        "The relay's answer cannot be read. Another server answers at RELAY_URL, or the relay is of another "
        "version. Run `manage.py relay status`",
        effect="unknown",
    )


def _error(error: Frame) -> Error:
    kind, effect, step = error["kind"], error.get("effect", "unknown"), error.get("step")
    if not (isinstance(kind, str) and isinstance(effect, str) and isinstance(step, int | None)):
        return unreadable()
    return error_from(
        str(error.get("message", "")), kind=kind, effect=effect, step=step, found=error.get("found")
    )


def _answer(result: Frame) -> Answer:
    columns, rows = result.get("columns", []), result.get("rows", [])
    changes, row_id = result.get("changes"), result.get("last_row_id")
    read, written = result.get("rows_read"), result.get("rows_written")
    if type(columns) is not list or type(rows) is not list or not {type(row) for row in rows} <= {list}:
        raise TypeError
    if not {type(count) for count in (changes, row_id, read, written)} <= {int, NoneType}:
        raise TypeError
    return Answer(columns, rows, changes, row_id, read, written)


def _answers(answers: list[Answer], request: Frame) -> bool:
    """Return whether there is a result for each step, or the one value."""
    if request["op"] in ("batch", "tx", "ping"):
        return len(answers) == len(request.get("steps", ()))
    return len(answers) == 1 and len(answers[0].rows) == 1 and len(answers[0].rows[0]) == 1
