"""Tenancy: the current tenant, an alias for each tenant, and what routes models to them.

Projects import from `do_bridge` and `do_bridge.exceptions`, which docs/api.md lists.
"""

from .context import (
    NoTenant,
    OpenTransaction,
    Scope,
    TenancyError,
    TenantMismatch,
    current,
    current_tenant,
    directory_context,
    tenant_context,
    unset_context,
)
from .databases import TenantDatabases, register_tenant
from .slugs import InvalidSlug, alias_slug, tenant_alias, validate_slug

__all__ = [
    "InvalidSlug",
    "NoTenant",
    "OpenTransaction",
    "Scope",
    "TenancyError",
    "TenantDatabases",
    "TenantMismatch",
    "alias_slug",
    "current",
    "current_tenant",
    "directory_context",
    "register_tenant",
    "tenant_alias",
    "tenant_context",
    "unset_context",
    "validate_slug",
]
