"""Admin sites for D1 and tenants, and base classes for tenants' admins."""

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
from .together import GatherMixin

__all__ = [
    "DatabaseAdminSite",
    "DirectoryAdminSite",
    "GatherMixin",
    "LogEntryAdmin",
    "ReadOnlyAdminMixin",
    "TenantAdminSite",
    "TenantInlineMixin",
    "TenantLogEntryAdmin",
    "TenantModelAdmin",
    "tenant_site",
]
