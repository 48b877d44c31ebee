"""Errors of a statement on a tenant's object with another schema than expected."""

from django.db import OperationalError


class SchemaMismatch(OperationalError):
    """A tenant's object does not have the schema that this code expects.

    Nothing was run.
    """


class TenantBehind(SchemaMismatch):
    """The tenant lacks migrations of this code."""


class CodeTooOld(SchemaMismatch):
    """The tenant has migrations that this code lacks and refuses.

    DO_BRIDGE["REQUIRE_EXACT_SCHEMA"] makes it refuse them.
    """


class TenantUnclaimed(SchemaMismatch):
    """The tenant's object holds tables that were not made for the tenant's row.

    Nothing was run.
    """

    def __init__(self, slug: str) -> None:
        super().__init__(
            f"The database of tenant {slug!r} has tables that were not made for this tenant, perhaps those "
            f"of a former tenant. To keep them, run `manage.py create_tenant --adopt {slug}`. To delete "
            f"them, run `manage.py tenant_delete {slug}`."
        )


class TenantElsewhere(SchemaMismatch):
    """The tenant is in another jurisdiction than the one in the settings.

    Nothing was run.
    """

    def __init__(self, slug: str, jurisdiction: str) -> None:
        super().__init__(
            f"Tenant {slug!r} is in the jurisdiction {jurisdiction!r}, and DATABASES has another one in the "
            "OPTIONS of the tenants' template. Correct OPTIONS['jurisdiction'] (RELAY_JURISDICTION), or "
            f"move the tenant with `manage.py tenant_move {slug} --jurisdiction <the one in the settings>`."
        )


class TenantGone(SchemaMismatch):
    """The tenant was deleted, perhaps by another process; nothing was run."""
