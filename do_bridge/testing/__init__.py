"""Helpers for the tests of a project that uses this package.

They are test cases, tenants for one test, and a test runner. The pytest plugin, `do_bridge.pytest_plugin`,
has the same as fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from do_bridge.lazy import names_from

if TYPE_CHECKING:
    from .cases import TenantTestCase
    from .client import TenantClient
    from .rows import RestoreRows
    from .runner import TestRunner
    from .tenants import empty_object, make_test_tenant, provision_test_tenant, unique_slug
else:
    # A project with an engine alone, without this package's models, has the runner and RestoreRows, too.
    __getattr__ = names_from(
        __name__,
        {
            "RestoreRows": "testing.rows",
            "TenantClient": "testing.client",
            "TenantTestCase": "testing.cases",
            "TestRunner": "testing.runner",
            "empty_object": "testing.tenants",
            "make_test_tenant": "testing.tenants",
            "provision_test_tenant": "testing.tenants",
            "unique_slug": "testing.tenants",
        },
    )

__all__ = [
    "RestoreRows",
    "TenantClient",
    "TenantTestCase",
    "TestRunner",
    "empty_object",
    "make_test_tenant",
    "provision_test_tenant",
    "unique_slug",
]
