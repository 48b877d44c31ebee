"""Remove what a run has made, also after a failure or an interruption."""

from __future__ import annotations

import contextlib
from typing import Final

from do_bridge.driver import Error

from .databases import Database
from .probe import OBJECT
from .site import Site

#: Tables that the relay keeps in an object; in the doctor's own object they belong to the probes.
_RELAYS_TABLES: Final = "name GLOB '_do_bridge_*'"


def clean(site: Site) -> list[str]:
    """Drop what is left and close all connections.

    Returns a sentence for each thing that stays.
    """
    left = []
    for database in site.databases:
        if not database.answered:
            database.close()
            continue
        with contextlib.suppress(Error):
            database.reset()
        try:
            names = _drop(database)
            left += [f"{database.kind}: the table {name} is left behind. Drop it." for name in names]
            if database.kind == OBJECT:
                # An object that was written to is billed for its pages until it is erased.
                database.connection.erase()
        except Error as error:
            left.append(
                f"{database.kind}: tables named {database.prefix}* may be left behind ({error}). Drop "
                "those that exist."
            )
        with contextlib.suppress(Error):
            database.close()
    if site.scratch is not None:
        left.append(site.scratch.remove())
    return [site.scrub(text) for text in left if text]


def _drop(database: Database) -> list[str]:
    """Drop this run's tables and views; return the names of those that still exist."""
    names = _names(database)
    if not names:
        return []
    # Views first, and children before parents or after: nothing points at them from outside.
    ordered = sorted(names, key=lambda item: item[1] != "view")
    drops = [f'DROP {kind.upper()} IF EXISTS "{name}"' for name, kind in ordered]
    database.batch("PRAGMA defer_foreign_keys=on", *drops)
    return [name for name, _ in _names(database)]


def _names(database: Database) -> list[tuple[str, str]]:
    # The name has a random part, so it matches no other table.
    which = f"name GLOB '{database.prefix}*'"
    if database.kind == OBJECT:
        which = f"({which} OR {_RELAYS_TABLES})"
    sql = f"SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND {which} ORDER BY name"  # noqa: S608
    return [(str(name), str(kind)) for name, kind in database.rows(sql)]
