"""The signals of the package."""

from .tenancy.lifecycle.signals import tenant_filled
from .tenancy.tenants import tenant_used

__all__ = ["tenant_filled", "tenant_used"]
