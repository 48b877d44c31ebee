"""Test cases in a tenant."""

from __future__ import annotations

from typing import Any

from django.test import TestCase

from do_bridge.tenancy.context import tenant_context
from do_bridge.tenancy.databases import register_tenant

from .rows import RestoreRows


class TenantTestCase(RestoreRows, TestCase):
    """A TestCase whose tests run inside one tenant, in transactions of its object.

    The transactions are rolled back. Set `tenant_slug`; its alias is added to `databases`, so that the test
    runner makes the object. Add "default" to `databases` if the code uses the shared database, or opens a
    block of `atomic()` without `using`. Without OPTIONS["transactions"] = "optimistic", the rows of D1 are
    then restored after each test.
    """

    tenant_slug = "test-tenant"
    databases: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Before any test case starts, because Django reads the aliases once for each class.
        alias = register_tenant(cls.tenant_slug)
        cls.databases = frozenset({*cls.databases, alias})

    def run(self, result: Any = None) -> Any:
        with tenant_context(self.tenant_slug):
            return super().run(result)
