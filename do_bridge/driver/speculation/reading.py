"""Fetch the rows of an answer that one message cannot carry.

They are fetched in parts, each within the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from do_bridge.driver.exceptions import DataError
from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import Deadline

from .carrying import LARGEST, Carried, ending, new_nonce
from .texts import rows_of, values

Try = Callable[[Sequence[Statement], str, Deadline], Carried]

# A part that begins below this size ends below the largest one, unless a row is longer than the rest.
_PART: Final = LARGEST // 2


def long_parts(attempt: Try, read: Statement, width: int, deadline: Deadline) -> list[tuple[int, int, str]]:
    """Return (place, number of rows, text) of each part of a read.

    The number of the last part is -1.
    """
    ends = _ends(attempt, read, width, deadline)
    parts = []
    for place, end in zip([0, *ends], ends, strict=False):
        count = end - place if end != ends[-1] else -1
        nonce = new_nonce()
        clause, row = rows_of(read, width)
        rows = f"(SELECT * FROM do_bridge_read LIMIT {count} OFFSET {place})"
        source = f"SELECT count(*), coalesce(group_concat({row}, ';'), '') FROM {rows}"
        carried = attempt([ending(source, read.params, nonce, clause)], nonce, deadline)
        if carried.is_too_long:
            raise DataError(
                f"A row takes more than {LARGEST // 2:,} bytes, which cannot be read in a block that writes "
                "to D1. Read it before or after the block, or without its large columns",
                kind="too_large",
                effect="statement",
            )
        parts.append((place, count, carried.text))
    return parts


def _ends(attempt: Try, read: Statement, width: int, deadline: Deadline) -> list[int]:
    """Return after how many rows each part ends."""
    nonce = new_nonce()
    clause, row = rows_of(read, width)
    lengths = f"SELECT row_number() OVER () AS n, length({row}) + 1 AS size FROM do_bridge_read"
    sums = f"SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM ({lengths})"
    groups = f"SELECT max(n) AS last FROM ({sums}) GROUP BY before / {_PART} ORDER BY last"
    source = f"SELECT count(*), coalesce(group_concat(last, ';'), '') FROM ({groups})"
    carried = attempt([ending(source, read.params, nonce, clause)], nonce, deadline)
    return [int(row[0]) for row in values(carried.text)]
