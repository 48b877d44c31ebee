"""The relay's databases as URLs, which `do_bridge.database_url` reads."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

DATABASE_URL: Final = "DATABASE_URL"
TENANT_DATABASE_URL: Final = "TENANT_DATABASE_URL"


def database_urls(
    url: str, token: str, database: str, test: str = "", *, jurisdiction: str = ""
) -> dict[str, str]:
    """Return the URLs of D1 and of the tenants' template, by variable.

    ``test`` is the id of D1's test database, ``jurisdiction`` the template's.
    """
    parts = urlsplit(url)
    place = f":{quote(token, safe='')}@{parts.netloc}"
    tls = "" if parts.scheme == "https" or is_local(url) else "false"
    return {
        DATABASE_URL: f"d1://{place}/{database}{_query(test_name=test, tls=tls)}",
        TENANT_DATABASE_URL: f"do://{place}/{_query(jurisdiction=jurisdiction, tls=tls)}",
    }


def jurisdiction_of(url: str) -> str:
    """Return the jurisdiction that a database's URL names, or an empty text."""
    return dict(parse_qsl(urlsplit(url).query)).get("jurisdiction", "")


def _query(**options: str) -> str:
    text = "&".join(f"{name}={value}" for name, value in options.items() if value)
    return f"?{text}" if text else ""


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1")


def is_other(url: str) -> bool:
    """Whether a database's URL is neither empty nor that of a local relay."""
    return bool(url) and not (urlsplit(url).scheme in ("d1", "do") and is_local(url))
