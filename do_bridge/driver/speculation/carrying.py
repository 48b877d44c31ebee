"""The last statement of a speculated batch.

It fails on purpose, with the answer in its message.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from do_bridge.driver.exceptions import DatabaseError, Error, OperationalError
from do_bridge.driver.sql import Shape, Statement
from do_bridge.driver.transport import Answer, Deadline

from .conflict import CONFLICT, TransactionConflict
from .texts import checksum, checksum_of, unreadable

Send = Callable[[Sequence[Statement], Deadline], list[Answer]]
"""Sends statements as one atomic batch, again after a lost answer."""

LARGEST: Final = 1_000_000
"""The longest text that one message carries, in characters."""

# D1 rolls such a batch back, so it may be repeated like a read.
HARMLESS: Final = Shape("SELECT", reads_only=True, counted=False)
# The semicolon keeps the relay from adding an EXPLAIN, which it does for columns with the same name.
_MARK: Final = "do_bridge:told; "
_MOST_PARAMETERS: Final = 100

DEFER: Final = Statement("PRAGMA defer_foreign_keys=on", (), HARMLESS)


@dataclass(frozen=True, slots=True)
class Carried:
    """What a message carried: the counters after the last write, and a text.

    If the text is too long, only its length is carried.
    """

    changes: int
    last_row_id: int
    count: int
    length: int
    text: str

    @property
    def is_too_long(self) -> bool:
        """Return whether the text was left out because one message cannot carry it."""
        return self.length > LARGEST


def message_sql(nonce: str, count: str, text: str) -> str:
    """Return the expression that fails with a text and its count.

    Both are names of columns.
    """
    carried = f"CASE WHEN length({text}) <= {LARGEST} THEN {text} ELSE '' END"
    parts = ["changes()", "last_insert_rowid()", count, f"length({text})", checksum_of(text), carried]
    joined = " || ' ' || ".join(f"({part})" for part in parts)
    return f"json_extract('{{}}', '{_MARK}' || {nonce} || ' ' || {joined} || ' end')"


def ending(source: str, params: tuple[str, ...], nonce: str, clause: str = "") -> Statement:
    """Return the statement that carries out what ``source`` selects.

    ``source`` selects ``n`` (a count) and ``t`` (a text). ``clause`` is a WITH clause for it, without a comma
    at its end.
    """
    slot, params = with_slot(params, nonce)
    before = f"{clause}, " if clause else "WITH "
    sql = f"{before}do_bridge_told(n, t) AS MATERIALIZED ({source}) SELECT {message_sql(slot, 'n', 't')}"
    return Statement(f"{sql} FROM do_bridge_told", params, HARMLESS)


def with_slot(params: tuple[str, ...], text: str) -> tuple[str, tuple[str, ...]]:
    """Return the SQL for one more text, and the parameters with it.

    The text is a literal if there is no slot left. Raises OperationalError if it is too long for that.
    """
    if len(params) < _MOST_PARAMETERS:
        return f"?{len(params) + 1}", (*params, text)
    if len(text) > 20_000:
        raise OperationalError(
            "The statement has too many long parameters to be repeated with its answer when the transaction "
            "commits. Split it",
            effect="statement",
        )
    return "'" + text.replace("'", "''") + "'", params


def new_nonce() -> str:
    """Return a word that only the answer to one request can hold."""
    return secrets.token_hex(8)


def carry(send: Send, statements: Sequence[Statement], nonce: str, deadline: Deadline) -> Carried:
    """Send a batch that ends with `ending` and return what it carried out.

    Raises the error of whatever statement failed before, TransactionConflict for a failed check, and
    OperationalError for a message that did not arrive as it was written.
    """
    error = _failure(send, statements, deadline)
    text = str(error)
    if CONFLICT in text:
        raise TransactionConflict()
    _, found, rest = text.partition(_MARK)
    if found:
        return _read(rest, nonce)
    if text.startswith("bad JSON path (the value"):
        error.add_note("If the statement has no JSON path, set OPTIONS['transactions'] to 'none'.")
    raise error


def _failure(send: Send, statements: Sequence[Statement], deadline: Deadline) -> Error:
    # The error is returned, not raised: as the context of another one it would show the rows.
    try:
        send([replace_shape(statement) for statement in statements], deadline)
    except Error as error:
        return error.with_traceback(None)
    raise OperationalError(
        "D1 carried out a batch that must fail, so the block's writes so far may have been committed. Read "
        "the data, and set OPTIONS['transactions'] to 'none'",
        kind="unreadable",
        effect="unknown",
    )


def replace_shape(statement: Statement) -> Statement:
    """Return the statement as part of a batch that is rolled back."""
    return Statement(statement.sql, statement.params, HARMLESS)


def _read(message: str, nonce: str) -> Carried:
    match = re.match(r"(\w+) (-?\d+) (-?\d+) (\d+) (\d+) (\d+) (\S*) end'", message)
    if match is None or match[1] != nonce:
        raise unreadable()
    changes, last_row_id, count, length, digest = (int(match[number]) for number in range(2, 7))
    carried = Carried(changes, last_row_id, count, length, match[7])
    whole = length == len(carried.text) or (carried.is_too_long and not carried.text)
    if not whole or (not carried.is_too_long and digest != checksum(carried.text)):
        raise unreadable()
    return carried


def is_too_big(error: Error) -> bool:
    """Return whether SQLite refused a text as too long for one value."""
    return isinstance(error, DatabaseError) and (
        error.sqlite_code == "SQLITE_TOOBIG" or "too big" in str(error)
    )
