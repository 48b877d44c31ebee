"""Recognize the tables of a database that are not the project's.

They are listed as GLOB patterns of their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

#: The runtime refuses every statement that touches one of these tables.
UNREADABLE: Final = ("_cf_*",)
#: Tables of the runtime and of its tools.
PLATFORM: Final = (*UNREADABLE, "__miniflare*", "d1_migrations")
PLATFORM_AND_SQLITE: Final = ("sqlite_*", *PLATFORM)
#: The idempotency keys that the relay's object keeps.
KEYS_TABLE: Final = "_do_bridge_keys"
#: The lease of a migration.
LEASE_TABLE: Final = "_do_bridge_lease"
#: Tables that appear and go while a database is used; dumps, loads and test databases skip them.
RUNTIME: Final = (*PLATFORM_AND_SQLITE, KEYS_TABLE, LEASE_TABLE)
#: This package's tables.
OWN: Final = ("_do_bridge_*",)
#: All tables that are not the project's.
INTERNAL: Final = (*RUNTIME, *OWN)


def outside(patterns: Iterable[str], column: str = "name") -> str:
    """Return the SQL condition that a name matches none of the patterns."""
    return " AND ".join(f"{column} NOT GLOB '{pattern}'" for pattern in patterns)


def is_among(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


NOT_RUNTIME: Final = outside(RUNTIME)
NOT_INTERNAL: Final = outside(INTERNAL)
