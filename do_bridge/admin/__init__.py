"""Admin sites for D1 and for the current tenant, and base classes for the admins of tenants' models."""

from .sites import (
    DatabaseAdminSite,
    DirectoryAdminSite,
    LogEntryAdmin,
    ReadOnlyAdminMixin,
    TenantAdminSite,
    TenantLogEntryAdmin,
    TenantModelAdmin,
    tenant_site,
)
from .tenant import TenantInlineMixin

__all__ = [
    "DatabaseAdminSite",
    "DirectoryAdminSite",
    "LogEntryAdmin",
    "ReadOnlyAdminMixin",
    "TenantAdminSite",
    "TenantInlineMixin",
    "TenantLogEntryAdmin",
    "TenantModelAdmin",
    "tenant_site",
]
