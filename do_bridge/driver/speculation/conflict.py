"""The error of a transaction that another one has overtaken."""

from __future__ import annotations

from typing import Final

from do_bridge.driver.exceptions import OperationalError

CONFLICT: Final = "do_bridge:conflict"
"""Begins the text with which a check in SQL fails."""

_TEXT: Final = (
    "Another transaction has changed what this one had read or written, so nothing of this one was written. "
    "Run the whole block again, for example with do_bridge.retry_on_conflict()"
)


class TransactionConflict(OperationalError):
    """The transaction conflicts with those that committed before it; run it again.

    It cannot be serialised with them.
    """

    def __init__(self, message: str = _TEXT) -> None:
        super().__init__(message, kind="conflict", effect="ended")
