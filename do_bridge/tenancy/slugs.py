"""What a tenant may be called, and what its alias and its object are called then."""

from __future__ import annotations

import re
from typing import TypeGuard

ALIAS_PREFIX = "tenant/"
SCRATCH_PREFIX = "scratch/"
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class InvalidSlug(ValueError):
    """The text cannot be a tenant's slug; the message does not repeat it, since it may be hostile."""


def is_valid_slug(value: object) -> TypeGuard[str]:
    """Say whether `value` is a `str` that names a tenant."""
    return isinstance(value, str) and _SLUG.fullmatch(value) is not None


def validate_slug(value: object) -> str:
    """Return `value` as it is when it names a tenant; raise InvalidSlug, never normalise."""
    if not is_valid_slug(value):
        raise InvalidSlug(
            "A tenant's slug is 1 to 63 lower-case ASCII letters, digits and inner hyphens; this one is not."
        )
    return value


def tenant_alias(slug: str | None) -> str:
    """Return the database alias of the tenant `slug`, e.g. "tenant/acme"; raise InvalidSlug."""
    return ALIAS_PREFIX + validate_slug(slug)


def alias_slug(alias: object) -> str | None:
    """Return the slug that the alias "tenant/<slug>" names, or None when it is no tenant's alias."""
    if not isinstance(alias, str) or not alias.startswith(ALIAS_PREFIX):
        return None
    slug = alias[len(ALIAS_PREFIX) :]
    return slug if is_valid_slug(slug) else None


def is_scratch_alias(alias: object) -> bool:
    """Say whether `alias` is that of a scratch object, from which tenants are provisioned."""
    return (
        isinstance(alias, str)
        and alias.startswith(SCRATCH_PREFIX)
        and is_valid_slug(alias[len(SCRATCH_PREFIX) :])
    )


def is_tenant_side(alias: object) -> bool:
    """Say whether `alias` is a tenant's or a scratch object, not D1 or a plain database."""
    return alias_slug(alias) is not None or is_scratch_alias(alias)


def object_name(alias: str, prefix: str = "") -> str:
    """Return the object's name behind a tenant-side `alias`; `prefix` is the test run's, e.g. "test/run1"."""
    if not prefix:
        return alias
    slug = alias_slug(alias)
    return f"{prefix}/{slug}" if slug else f"{prefix}/{alias.replace('/', '-')}"
