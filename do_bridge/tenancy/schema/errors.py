"""Errors of a statement on a tenant's object with another schema than expected."""

from django.db import OperationalError


class SchemaMismatch(OperationalError):
    """A tenant's object does not have the schema that this code expects.

    Nothing was run. `remedy` is what the operator of the site does, and ends the message. A page can show
    `reason` and `remedy`, which contain no text of another error.
    """

    reason = "The tenant's schema does not match this code."
    remedy = "Run `manage.py migrate --database tenant`, or deploy the code that matches it."

    def __init__(self, message: str = "", *, remedy: str = "", reason: str = "") -> None:
        super().__init__(f"{message} {remedy}" if remedy else message)
        if remedy:
            self.remedy = remedy
        if reason:
            self.reason = reason


class TenantBehind(SchemaMismatch):
    """The tenant lacks migrations, or an operation on it has not finished."""

    reason = "The tenant's schema is behind this code."
    remedy = "Run `manage.py migrate --database tenant`. The log contains the details."


class CodeTooOld(SchemaMismatch):
    """The tenant has migrations that this code lacks and refuses.

    DO_BRIDGE["REQUIRE_EXACT_SCHEMA"] makes it refuse them.
    """

    reason = "The tenant's schema has migrations that this code does not have."


class TenantUnclaimed(SchemaMismatch):
    """The tenant's object holds tables that were not made for the tenant's row.

    Nothing was run.
    """

    def __init__(self, slug: str) -> None:
        text = (
            f"The database of tenant {slug!r} has tables that were not made for this tenant, perhaps those "
            "of a former tenant."
        )
        remedy = (
            f"To keep them, run `manage.py create_tenant --adopt {slug}`. To delete them, run "
            f"`manage.py tenant_delete {slug}`."
        )
        super().__init__(text, remedy=remedy, reason=text)


class TenantLost(SchemaMismatch):
    """The tenant's object is empty, and D1 records that it had data.

    Nothing was run.
    """

    def __init__(self, slug: str) -> None:
        text = (
            f"The Durable Object of tenant {slug!r} is empty, but the shared database records that it had "
            "data. Perhaps RELAY_URL is that of another relay, or the object was deleted."
        )
        remedy = (
            f"Check RELAY_URL. If it is right, run `manage.py tenant_restore {slug} --to MOMENT` or "
            f"`manage.py tenant_load {slug} FILE --replace` to bring the data back, or `manage.py "
            f"create_tenant {slug}` to begin with an empty database."
        )
        super().__init__(text, remedy=remedy, reason=text)


class TenantElsewhere(SchemaMismatch):
    """The tenant is in another jurisdiction than the one in the settings.

    Nothing was run.
    """

    def __init__(self, slug: str, jurisdiction: str, configured: str) -> None:
        text = (
            f"Tenant {slug!r} is in the jurisdiction {jurisdiction!r}, and DATABASES has {configured!r} in "
            "the OPTIONS of the tenants' template."
        )
        remedy = (
            "Correct OPTIONS['jurisdiction'] (RELAY_JURISDICTION), or move the tenant with "
            f"`manage.py tenant_move {slug} --jurisdiction {configured}`."
        )
        super().__init__(text, remedy=remedy, reason=text)


class TenantGone(SchemaMismatch):
    """The tenant was deleted, perhaps by another process; nothing was run."""
