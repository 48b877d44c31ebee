"""What a statement raises on a tenant's object whose schema is not the one that this code needs."""

from django.db import OperationalError


class SchemaMismatch(OperationalError):
    """A tenant's object does not hold the schema that this code expects; nothing was run."""


class TenantBehind(SchemaMismatch):
    """The tenant has not been migrated to where this code is."""


class CodeTooOld(SchemaMismatch):
    """The tenant has migrations that this code lacks, which DO_BRIDGE["REQUIRE_EXACT_SCHEMA"] refuses."""


class TenantUnclaimed(SchemaMismatch):
    """The tenant's object holds tables that were not made for the tenant's row; nothing was run."""

    def __init__(self, slug):
        super().__init__(
            f"The database of tenant {slug!r} has tables that were not made for this tenant. They may be a "
            f"former tenant's. Take them over with `manage.py create_tenant --adopt {slug}`, or delete them "
            f"with `manage.py tenant_delete {slug}`."
        )


class TenantGone(SchemaMismatch):
    """The tenant was deleted, by another process maybe; nothing was run, and nothing is made anew."""
