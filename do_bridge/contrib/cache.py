"""Key functions that keep the tenants' entries in Django's cache apart."""

from __future__ import annotations

from do_bridge.tenancy.context import current

DIRECTORY_SPACE = "directory"


def is_by_tenant(function: object) -> bool:
    """Return whether the KEY_FUNCTION of a cache is `tenant_key`."""
    return function == f"{__name__}.tenant_key" or getattr(function, "__name__", None) == "tenant_key"


def tenant_key(key: str, key_prefix: str, version: int) -> str:
    """A `KEY_FUNCTION` for CACHES: return a key with the current tenant.

    Without a current tenant the key is in a space of its own, which sessions and other shared entries use. A
    slug has no colon, so keys of two spaces are never equal. Template fragments, `cache_page` and the
    low-level cache API all use this function.
    """
    slug = current().slug
    space = f"tenant:{slug}" if slug else DIRECTORY_SPACE
    return f"{space}:{key_prefix}:{version}:{key}"


def directory_key(key: str, key_prefix: str, version: int) -> str:
    """A `KEY_FUNCTION` for CACHES: return a key that all tenants share.

    Use it for example for `cached_db` sessions.
    """
    return f"{DIRECTORY_SPACE}:{key_prefix}:{version}:{key}"
