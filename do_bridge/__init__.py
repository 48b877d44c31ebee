"""Django on Cloudflare D1 and on one Durable Object for each tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import names_from
from .version import __version__

if TYPE_CHECKING:
    from .backends.warming import warm_up
    from .batches import batch
    from .conflicts import TransactionConflict, retry_on_conflict
    from .gathering import agather, gather, prefetch
    from .tenancy.context import current_tenant, directory_context, tenant_context, unset_context
    from .tenancy.databases import TenantDatabases, register_tenant
    from .tenancy.lifecycle.creation import create_tenant
    from .tenancy.slugs import alias_slug, tenant_alias, validate_slug
else:
    # Settings name TenantDatabases before there are models, and the driver works without Django.
    __getattr__ = names_from(
        __name__,
        {
            "TenantDatabases": "tenancy.databases",
            "TransactionConflict": "conflicts",
            "agather": "gathering",
            "alias_slug": "tenancy.slugs",
            "batch": "batches",
            "create_tenant": "tenancy.lifecycle.creation",
            "current_tenant": "tenancy.context",
            "directory_context": "tenancy.context",
            "gather": "gathering",
            "prefetch": "gathering",
            "register_tenant": "tenancy.databases",
            "retry_on_conflict": "conflicts",
            "tenant_alias": "tenancy.slugs",
            "tenant_context": "tenancy.context",
            "unset_context": "tenancy.context",
            "validate_slug": "tenancy.slugs",
            "warm_up": "backends.warming",
        },
    )

__all__ = [
    "TenantDatabases",
    "TransactionConflict",
    "__version__",
    "agather",
    "alias_slug",
    "batch",
    "create_tenant",
    "current_tenant",
    "directory_context",
    "gather",
    "prefetch",
    "register_tenant",
    "retry_on_conflict",
    "tenant_alias",
    "tenant_context",
    "unset_context",
    "validate_slug",
    "warm_up",
]
