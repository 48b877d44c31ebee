"""Reserve keys for new rows ahead.

Then two blocks that insert into one table need not conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import Deadline

from .carrying import HARMLESS, Send

# The counter has no row before the table's first one.
_BEGIN: Final = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT {name}, 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = {name})"
)
_TAKE: Final = (
    "UPDATE sqlite_sequence "
    "SET seq = max(seq, {above}, (SELECT coalesce(max(rowid), 0) FROM {table})) + {count} "
    "WHERE name = {name} RETURNING seq"
)


def reserve_keys(send: Send, table: str, count: int, above: int, deadline: Deadline) -> Sequence[int]:
    """Return keys of an AUTOINCREMENT table that no other row will get.

    All are larger than ``above``. The reservation is committed by itself. A lost answer leaves a gap, as a
    sequence of PostgreSQL does. Raises OperationalError for a table that does not exist yet outside of the
    block.
    """
    literal = "'" + table.replace("'", "''") + "'"
    quoted = '"' + table.replace('"', '""') + '"'
    parts = {"name": literal, "table": quoted, "count": count, "above": int(above)}
    steps = [Statement(text.format(**parts), (), HARMLESS) for text in (_BEGIN, _TAKE)]
    ((last,),) = send(steps, deadline)[-1].rows
    return range(int(last) - count + 1, int(last) + 1)
