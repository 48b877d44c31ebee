"""Find the number and the names of a read's columns.

They come from its text, or from D1 once for each text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Lock
from typing import Final

from do_bridge.driver.exceptions import Error, NotSupportedError
from do_bridge.driver.sql import Statement, bare

from .carrying import HARMLESS, Carried, ending, new_nonce
from .scanning import Item, name_of, names_something, scan, select_items

Ask = Callable[[list[Statement], str], Carried]
"""Sends statements after the block's writes; the second argument is the nonce of the ending."""

_LARGEST_CACHE: Final = 1000
_READABLE_PRAGMA: Final = "SELECT * FROM pragma_{name}({arguments})"
_AGAIN: Final = re.compile(r":\d+$")


class Descriptions:
    """The columns of reads whose SQL does not show them, for one database."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}
        self._lock = Lock()

    def of(self, read: Statement, ask: Ask) -> list[str]:
        """Return the names of a read's columns.

        One round trip if the text alone does not give them.
        """
        found = select_items(read.sql)
        if found is not None and (names := certain_names(found)) is not None:
            return names
        known = self._known.get(read.sql)
        if known is None:
            known = self._ask(read, ask)
            with self._lock:
                if len(self._known) >= _LARGEST_CACHE:
                    self._known.clear()
                self._known[read.sql] = known
        return list(known)

    def forget(self, sql: str) -> None:
        """Forget the columns of a text whose tables have changed."""
        self._known.pop(sql, None)

    def _ask(self, read: Statement, ask: Ask) -> list[str]:
        copy = f"CREATE TABLE _do_bridge_described AS SELECT * FROM (\n{bare(read.sql)}\n) LIMIT 0"
        columns = "SELECT count(*), coalesce(group_concat('t'||hex(name)), '') FROM "
        nonce = new_nonce()
        last = ending(f"{columns}pragma_table_info('_do_bridge_described')", (), nonce)
        carried = ask([Statement(copy, read.params, HARMLESS), last], nonce)
        names = [bytes.fromhex(name[1:]).decode() for name in carried.text.split(",")]
        # SQLite numbers names that come more than once.
        return [
            base if (base := _AGAIN.sub("", name)) in names[:at] else name for at, name in enumerate(names)
        ]


def certain_names(found: list[Item]) -> list[str] | None:
    """Return the names of the terms; None if one of them is not certain."""
    names = [item.name for item in found]
    return [name for name in names if name is not None] if None not in names else None


def as_select(read: Statement) -> Statement:
    """Return a PRAGMA as a SELECT of the same rows; return other reads unchanged.

    Raises NotSupportedError if there is no such SELECT.
    """
    if read.shape.verb != "PRAGMA":
        return read
    found = scan(read.sql)
    name = name_of(read.sql, found[1])
    if len(found) == 2:
        return Statement(_READABLE_PRAGMA.format(name=name, arguments=""), read.params, HARMLESS)
    if len(found) == 5 and found[2].text == "(" and found[3].text not in "(":
        argument = found[3]
        quoted = read.sql[argument.start : argument.end]
        if names_something(argument):
            quoted = "'" + name_of(read.sql, argument).replace("'", "''") + "'"
        return Statement(_READABLE_PRAGMA.format(name=name, arguments=quoted), read.params, HARMLESS)
    raise NotSupportedError(
        "This PRAGMA cannot be read inside a block that has written. Read it before the block",
        effect="statement",
    )


def wrong_width(error: Error) -> bool:
    """Return whether SQLite counts other columns than the description."""
    return "do_bridge_read has" in str(error)
