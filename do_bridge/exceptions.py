"""The exceptions of the package, beside those of `django.db` and of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import names_from

if TYPE_CHECKING:
    from .backends.durable_object.base import TemplateUsed
    from .backends.remote_sqlite.reading import UnreadableValue
    from .tenancy.context import NoTenant, OpenTransaction, TenancyError, TenantMismatch
    from .tenancy.lifecycle.keeping import TenantKept
    from .tenancy.lifecycle.lease.leases import Held, LeaseError, LeaseLost, Unfinished
    from .tenancy.lifecycle.ledger import LedgerMissing
    from .tenancy.lifecycle.provision import ObjectTaken
    from .tenancy.lifecycle.tenant_rows import FieldsMissing, WrongField
    from .tenancy.lifecycle.transfer.load import TenantExists
    from .tenancy.lifecycle.transfer.moving import NotMoved
    from .tenancy.places import WrongPlace
    from .tenancy.replicated.contenttypes import DirectoryNotReady
    from .tenancy.replicated.users import CopyMissing, RelationRefused
    from .tenancy.schema.errors import (
        CodeTooOld,
        SchemaMismatch,
        TenantBehind,
        TenantElsewhere,
        TenantGone,
        TenantLost,
        TenantUnclaimed,
    )
    from .tenancy.slugs import InvalidSlug
else:
    # Some modules need models, and exceptions are imported before there are any.
    __getattr__ = names_from(
        __name__,
        {
            "CodeTooOld": "tenancy.schema.errors",
            "CopyMissing": "tenancy.replicated.users",
            "DirectoryNotReady": "tenancy.replicated.contenttypes",
            "FieldsMissing": "tenancy.lifecycle.tenant_rows",
            "Held": "tenancy.lifecycle.lease.leases",
            "InvalidSlug": "tenancy.slugs",
            "LeaseError": "tenancy.lifecycle.lease.leases",
            "LeaseLost": "tenancy.lifecycle.lease.leases",
            "LedgerMissing": "tenancy.lifecycle.ledger",
            "NoTenant": "tenancy.context",
            "NotMoved": "tenancy.lifecycle.transfer.moving",
            "ObjectTaken": "tenancy.lifecycle.provision",
            "OpenTransaction": "tenancy.context",
            "RelationRefused": "tenancy.replicated.users",
            "SchemaMismatch": "tenancy.schema.errors",
            "TemplateUsed": "backends.durable_object.base",
            "TenancyError": "tenancy.context",
            "TenantBehind": "tenancy.schema.errors",
            "TenantElsewhere": "tenancy.schema.errors",
            "TenantExists": "tenancy.lifecycle.transfer.load",
            "TenantGone": "tenancy.schema.errors",
            "TenantKept": "tenancy.lifecycle.keeping",
            "TenantLost": "tenancy.schema.errors",
            "TenantMismatch": "tenancy.context",
            "TenantUnclaimed": "tenancy.schema.errors",
            "Unfinished": "tenancy.lifecycle.lease.leases",
            "UnreadableValue": "backends.remote_sqlite.reading",
            "WrongField": "tenancy.lifecycle.tenant_rows",
            "WrongPlace": "tenancy.places",
        },
    )

__all__ = [
    "CodeTooOld",
    "CopyMissing",
    "DirectoryNotReady",
    "FieldsMissing",
    "Held",
    "InvalidSlug",
    "LeaseError",
    "LeaseLost",
    "LedgerMissing",
    "NoTenant",
    "NotMoved",
    "ObjectTaken",
    "OpenTransaction",
    "RelationRefused",
    "SchemaMismatch",
    "TemplateUsed",
    "TenancyError",
    "TenantBehind",
    "TenantElsewhere",
    "TenantExists",
    "TenantGone",
    "TenantKept",
    "TenantLost",
    "TenantMismatch",
    "TenantUnclaimed",
    "Unfinished",
    "UnreadableValue",
    "WrongField",
    "WrongPlace",
]
