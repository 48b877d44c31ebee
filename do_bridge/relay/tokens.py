"""The secrets that the relay and its clients share."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import envfile

# The relay's other tokens. Its configuration names them, and wrangler never deletes one that is left out.
OPTIONAL_TOKENS: Final = (
    "RELAY_TOKEN_PREVIOUS",
    "RELAY_TOKEN_TENANTS",
    "RELAY_TOKEN_TENANTS_PREVIOUS",
    "RELAY_TOKEN_DIRECTORY",
    "RELAY_TOKEN_DIRECTORY_PREVIOUS",
)
# Too short to be a secret: the Worker accepts no such token.
UNSET: Final = "unset"
# The Worker accepts no shorter text as a secret: worker/src/auth.ts.
SHORTEST: Final = 32


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(48)


def kept_token(path: Path) -> str:
    """Return the token in a private file; write a new one if there is none."""
    token = path.read_text().strip() if path.exists() else ""
    if not token:
        token = new_token()
        envfile.write_private(path, token + "\n")
    return token


def as_secrets(settings: Mapping[str, str]) -> dict[str, str]:
    """Return every token of the relay by its secret's name.

    An unset token gets a value that replaces an old one.
    """
    return {name: settings.get(name) or UNSET for name in ("RELAY_TOKEN", *OPTIONAL_TOKENS)}


def refused(settings: Mapping[str, str]) -> list[str]:
    """Return a line for each token that the relay would not accept.

    A token that repeats another one is not accepted.
    """
    given = {name: text for name, text in as_secrets(settings).items() if settings.get(name)}
    lines = []
    for name, text in given.items():
        if len(text) < SHORTEST or not (text.isascii() and text.isprintable() and " " not in text):
            lines.append(f"{name}: it must have at least {SHORTEST} characters, without spaces")
        same = next(other for other in given if given[other] == text)
        if same != name:
            lines.append(f"{name}: it must differ from {same}")
    return lines
