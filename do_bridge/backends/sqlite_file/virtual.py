"""Handle virtual tables in dumps.

Some hold rows of their own; others are made again from other tables.
"""

import contextlib
import sqlite3
from dataclasses import dataclass

from django.db import NotSupportedError

from do_bridge.driver.sql import quote, tokens


@dataclass(frozen=True, slots=True)
class Derived:
    """A virtual table without rows of its own.

    It is an index of another table, or a view of an index.
    """

    name: str
    sql: str
    is_rebuilt: bool

    def statements(self):
        """Return the statements that make it; what it is made from must exist."""
        return [self.sql, rebuild(self.name)] if self.is_rebuilt else [self.sql]


def rebuild(name):
    """Return the statement by which FTS5 makes its index again of the rows."""
    return f"INSERT INTO {quote(name)} ({quote(name)}) VALUES ('rebuild')"  # noqa: S608


def configuration(name):
    """Return the query for what was set on an FTS5 table, pairs for `configure`."""
    return f"SELECT k, v FROM {quote(f'{name}_config')} WHERE k <> 'version'"  # noqa: S608


def configure(name):
    """Return the statement that sets one option of an FTS5 table.

    Bind the option's name and its value.
    """
    return f"INSERT INTO {quote(name)} ({quote(name)}, rank) VALUES "  # noqa: S608


def derived(name, sql):
    """Return the Derived that `sql` makes, or None if the FTS5 table stores its rows.

    This process's SQLite makes the table in memory to find out. Raises NotSupportedError for a table whose
    content can't be read back, and for one that this SQLite can't create.
    """
    module = _module(sql)
    if module == "FTS5VOCAB":
        return Derived(name, sql, is_rebuilt=False)
    if module != "FTS5":
        raise NotSupportedError(
            f"{name!r} is a virtual table of the module {module.lower()}, whose content can't be dumped. "
            "Drop the table first, and create it again afterwards."
        )
    with contextlib.closing(sqlite3.connect(":memory:")) as probe:
        try:
            probe.execute(sql)
        except sqlite3.Error as error:
            raise NotSupportedError(
                f"{name!r} is a virtual table that SQLite {sqlite3.sqlite_version}, which this Python uses, "
                f"can't create ({error}). Use a newer SQLite, or drop the table first and create it again "
                "afterwards."
            ) from error
        try:
            probe.execute(rebuild(name))
        except sqlite3.Error as error:
            if "contentless" in str(error):
                raise NotSupportedError(
                    f"{name!r} is a contentless FTS5 table, which does not store its texts, so it can't be "
                    "dumped. Drop the table first, and fill it again afterwards."
                ) from error
            # The table of its texts is not there, in memory.
            return Derived(name, sql, is_rebuilt=True)
    return None


def _module(sql):
    """Return the word behind USING, in upper case."""
    words = (text.upper() for text, *_ in tokens(sql))
    return next((next(words, "") for word in words if word == "USING"), "")
