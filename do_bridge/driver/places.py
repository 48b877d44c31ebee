"""Where Durable Objects are: jurisdictions in their names, and location hints.

Both lists are those of Cloudflare's documentation and of the runtime's own types. The relay accepts any name
of the right form, so a new jurisdiction of the platform needs a new version of this package alone.
"""

from __future__ import annotations

import re
from typing import Final

from .exceptions import InterfaceError

# https://developers.cloudflare.com/durable-objects/reference/data-location/
# https://developers.cloudflare.com/changelog/post/2026-06-26-durable-objects-us-jurisdiction/
JURISDICTIONS: Final[dict[str, str]] = {
    "eu": "European Union",
    "us": "United States",
    "fedramp": "FedRAMP",
    "fedramp-high": "FedRAMP High",
}

# Hints: the platform creates an object near the place, without a guarantee.
LOCATIONS: Final[dict[str, str]] = {
    "wnam": "Western North America",
    "enam": "Eastern North America",
    "sam": "South America",
    "weur": "Western Europe",
    "eeur": "Eastern Europe",
    "apac": "Asia-Pacific",
    "apac-ne": "Northeast Asia-Pacific",
    "apac-se": "Southeast Asia-Pacific",
    "oc": "Oceania",
    "afr": "Africa",
    "me": "Middle East",
}

# What D1 offers of them: https://developers.cloudflare.com/d1/configuration/data-location/
D1_JURISDICTIONS: Final = ("eu", "fedramp", "us")
D1_LOCATIONS: Final = ("weur", "eeur", "apac", "oc", "wnam", "enam")

# The relay's own check: worker/src/parsing.ts.
_FORM: Final = re.compile(r"[a-z0-9-]{2,16}")


def is_place(text: str) -> bool:
    """Return whether a text has the form of a jurisdiction or a location hint."""
    return _FORM.fullmatch(text) is not None


def join_place(name: str, jurisdiction: str | None) -> str:
    """Return the name of an object in a jurisdiction: ``do:tenant/acme@eu``.

    ``name`` is with or without ``do:``. Without a jurisdiction the name stays as it is. Raises ValueError if
    the name carries a jurisdiction already, or if the jurisdiction is not in the right form.
    """
    if "@" in name:
        raise ValueError(f"{name!r} carries a jurisdiction already")
    if not jurisdiction:
        return name
    if not is_place(jurisdiction):
        raise ValueError("A jurisdiction has 2 to 16 lower-case letters, digits or hyphens")
    return f"{name}@{jurisdiction}"


def split_place(name: str) -> tuple[str, str | None]:
    """Return the name without its jurisdiction, and the jurisdiction or None.

    ``name`` is with or without ``do:``; a D1 database has no jurisdiction in its name.
    """
    bare, _, jurisdiction = name.partition("@")
    return bare, jurisdiction or None


def check_name(database: str, location: str | None = None) -> None:
    """Raise InterfaceError for a wrong name of a database, or a wrong hint."""
    kind, name = database[:3], database[3:]
    bare, jurisdiction = split_place(name)
    if kind not in ("do:", "d1:") or not bare or (kind == "d1:" and "@" in name):
        raise InterfaceError(
            f"A database is named 'do:<object>', 'do:<object>@<jurisdiction>' or 'd1:<id>', not {database!r}"
        )
    if "@" in name and not is_place(jurisdiction or ""):
        raise InterfaceError(
            f"{database!r} has no valid jurisdiction behind the '@'. Use one of {', '.join(JURISDICTIONS)}"
        )
    if location is not None and (kind != "do:" or not is_place(location)):
        raise InterfaceError(f"location must be one of {', '.join(LOCATIONS)}, on an object (do:) alone")
