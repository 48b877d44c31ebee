"""Helpers for tests of a project that uses this package: test cases, tenants for one test, a test runner.

The pytest plugin, `do_bridge.pytest_plugin`, has the same as fixtures.
"""

from .cases import TenantTestCase
from .client import TenantClient
from .rows import RestoreRows
from .runner import TestRunner
from .tenants import empty_object, make_test_tenant, provision_test_tenant, unique_slug

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
