"""Django on Cloudflare D1 and on one Durable Object for each tenant."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .batches import batch
    from .tenancy.context import current_tenant, directory_context, tenant_context, unset_context
    from .tenancy.databases import TenantDatabases, register_tenant
    from .tenancy.lifecycle.creation import create_tenant
    from .tenancy.slugs import tenant_alias, validate_slug

__all__ = [
    "TenantDatabases",
    "__version__",
    "batch",
    "create_tenant",
    "current_tenant",
    "directory_context",
    "register_tenant",
    "tenant_alias",
    "tenant_context",
    "unset_context",
    "validate_slug",
]

# Imported when they are used: settings name TenantDatabases before there are models, and the driver works
# without Django.
_HOMES = {
    "TenantDatabases": "tenancy.databases",
    "batch": "batches",
    "create_tenant": "tenancy.lifecycle.creation",
    "current_tenant": "tenancy.context",
    "directory_context": "tenancy.context",
    "register_tenant": "tenancy.databases",
    "tenant_alias": "tenancy.slugs",
    "tenant_context": "tenancy.context",
    "unset_context": "tenancy.context",
    "validate_slug": "tenancy.slugs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
