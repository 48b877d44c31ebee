"""The signals of the package."""

from .tenancy.lifecycle.signals import shared_restored, tenant_filled
from .tenancy.tenants import tenant_used

__all__ = ["shared_restored", "tenant_filled", "tenant_used"]
