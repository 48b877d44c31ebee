"""Many statements as one batch, or as several if one request cannot hold them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from .exceptions import Error
from .limits import chunks_by_weight
from .results import Result
from .sql import Statement
from .transport import Deadline, size_of

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger("do_bridge.driver")

# The size of a request without its statements.
_FRAME: Final = 2000


def run_many(connection: Connection, statements: Sequence[Statement]) -> list[Result]:
    """Run statements as ``Connection.run_many`` does."""
    pieces = _pieces(connection, statements)
    if len(pieces) == 1:
        return connection.run(statements)
    if connection.in_transaction or connection.optimistic or not connection.supports_transactions:
        return _run_pieces(connection, pieces)
    connection.begin()
    try:
        results = _run_pieces(connection, pieces)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return results


def _pieces(connection: Connection, statements: Sequence[Statement]) -> list[list[Statement]]:
    if size_of(statements) < 500_000:
        return [list(statements)]
    largest = connection.transport.max_request(Deadline(connection.timeout)) - _FRAME
    return list(chunks_by_weight(statements, lambda statement: size_of([statement]), largest))


def _run_pieces(connection: Connection, pieces: Sequence[Sequence[Statement]]) -> list[Result]:
    results: list[Result] = []
    alone = not connection.in_transaction
    if alone:
        logger.warning(
            "%s: a batch is too large for one request and is sent as %d atomic chunks",
            connection.database,
            len(pieces),
        )
    for piece in pieces:
        try:
            # Only the last piece may have the transaction's last write.
            with nullcontext() if piece is pieces[-1] else connection.last_write():
                results.extend(connection.run(piece))
        except Error as error:
            if alone and results:
                error.add_note(f"The first {len(results)} statements have been carried out and stay.")
            raise
    return results
