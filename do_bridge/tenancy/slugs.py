"""Tenants' slugs, and the database aliases and object names made of them."""

from __future__ import annotations

import re
from typing import TypeGuard

from .conf import conf

ALIAS_PREFIX = "tenant/"
TEMPLATE_OBJECT_PREFIX = "scratch/"
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
#: The same as an SQL condition, for the column of slugs as {0}.
SLUG_SQL = (
    "length({0}) BETWEEN 1 AND 63 AND {0} NOT GLOB '*[^a-z0-9-]*' AND {0} NOT GLOB '-*' AND {0} NOT GLOB '*-'"
)


class InvalidSlug(ValueError):
    """A text is not a valid slug.

    The message does not repeat it, because it may be hostile.
    """


def is_valid_slug(value: object) -> TypeGuard[str]:
    """Return whether `value` is a string and a valid slug."""
    return isinstance(value, str) and _SLUG.fullmatch(value) is not None


def validate_slug(value: object) -> str:
    """Return `value` unchanged if it is a valid slug, else raise InvalidSlug."""
    if not is_valid_slug(value):
        raise InvalidSlug(
            "This is not a valid slug for a tenant. A slug has 1 to 63 lower-case ASCII letters, digits and "
            "inner hyphens."
        )
    return value


def validate_new_slug(value: object) -> str:
    """Return `value` unchanged if a new tenant may have it as its slug.

    Raises InvalidSlug, also for the names in DO_BRIDGE["RESERVED_SLUGS"].
    """
    slug = validate_slug(value)
    if slug in conf("RESERVED_SLUGS"):
        raise InvalidSlug(
            f"The slug {slug!r} is reserved by DO_BRIDGE['RESERVED_SLUGS']. Choose another slug."
        )
    return slug


def tenant_alias(slug: str | None) -> str:
    """Return a tenant's alias, for example "tenant/acme". Raises InvalidSlug."""
    return ALIAS_PREFIX + validate_slug(slug)


def alias_slug(alias: object) -> str | None:
    """Return the slug in the alias "tenant/<slug>", or None for other aliases."""
    if not isinstance(alias, str) or not alias.startswith(ALIAS_PREFIX):
        return None
    slug = alias[len(ALIAS_PREFIX) :]
    return slug if is_valid_slug(slug) else None


def is_template_object_alias(alias: object) -> bool:
    """Return whether `alias` is that of a template object.

    Tenants are created from template objects.
    """
    return (
        isinstance(alias, str)
        and alias.startswith(TEMPLATE_OBJECT_PREFIX)
        and is_valid_slug(alias[len(TEMPLATE_OBJECT_PREFIX) :])
    )


def is_tenant_side(alias: object) -> bool:
    """Return whether `alias` is a tenant's or a template object's."""
    return alias_slug(alias) is not None or is_template_object_alias(alias)


def object_name(alias: str, prefix: str = "") -> str:
    """Return the name of the Durable Object behind a tenant's `alias`.

    `prefix` is that of a test run, for example "test/run1", or empty.
    """
    if not prefix:
        return alias
    slug = alias_slug(alias)
    return f"{prefix}/{slug}" if slug else f"{prefix}/{alias.replace('/', '-')}"
