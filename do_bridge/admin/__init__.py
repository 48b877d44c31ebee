"""Admin sites for D1 and tenants, and base classes for tenants' admins."""

from .model_admins import LogEntryAdmin, ReadOnlyAdminMixin, TenantLogEntryAdmin, TenantModelAdmin
from .sites import DatabaseAdminSite, DirectoryAdminSite, TenantAdminSite, tenant_site
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
