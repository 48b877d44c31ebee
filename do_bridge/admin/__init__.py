"""Admin sites for D1 and tenants, and base classes for tenants' admins."""

from .model_admins import LogEntryAdmin, ReadOnlyAdminMixin, TenantLogEntryAdmin, TenantModelAdmin
from .sites import DatabaseAdminSite, DirectoryAdminSite, TenantAdminSite, tenant_site
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
