"""Helpers for tests of code that uses tenants: a test case in a tenant, tenants for one test."""

from contextlib import contextmanager, suppress
from uuid import uuid4

from django.db import connections
from django.test import TestCase
from django.test import utils as test_utils
from django.test.testcases import DatabaseOperationForbidden

from do_bridge.tenancy.lifecycle.looking import unchecked

from .backends.remote_sqlite.emptying import empty
from .tenancy.context import tenant_context
from .tenancy.databases import register_tenant
from .tenancy.lifecycle import leases, ledger
from .tenancy.lifecycle.provision import provision
from .tenancy.lifecycle.states import Operation
from .tenancy.slugs import alias_slug, tenant_alias


class TenantTestCase(TestCase):
    """A TestCase whose tests run inside one tenant, in transactions of its object that are rolled back.

    Set `tenant_slug`; `databases` gets its alias by itself, so the test runner makes the object. Add
    "default" to `databases` if the code uses the shared database, or opens a block of `atomic()` without
    `using`. Without OPTIONS["transactions"] = "optimistic" D1's rows are then restored after each test.
    """

    tenant_slug = "test-tenant"
    databases = frozenset()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # Before any test case starts, because Django reads the aliases once for each class.
        alias = register_tenant(cls.tenant_slug)
        cls.databases = frozenset({*cls.databases, alias})

    def run(self, result=None):
        with tenant_context(self.tenant_slug):
            return super().run(result)


def unique_slug(prefix="t"):
    """Return a slug that no other test uses."""
    return f"{prefix}-{uuid4().hex[:12]}"


@contextmanager
def provision_test_tenant(slug=None):
    """Give a test a tenant's object of its own, ready for use, and empty it afterwards; yields the slug.

    The tenant has no row in D1: make one if the code under test looks it up. Needs the shared database
    (pytest.mark.django_db), because content types are copied from there.
    """
    if not hasattr(test_utils._TestState, "saved_data"):
        raise RuntimeError(
            "provision_test_tenant() works only in a test run, because it empties the object "
            "afterwards. Run it with `manage.py test` or pytest."
        )
    slug = slug or unique_slug()
    # The lease stays, so that the tables are known to be the tenant's once the test makes its row.
    lease = leases.take_many([leases.look(slug)], Operation.MIGRATE, seconds=0)[slug]
    provision(slug, lease=lease)
    try:
        yield slug
    finally:
        empty_object(tenant_alias(slug))


def empty_object(alias):
    """Drop everything that the database `alias` holds, in two round trips; refuses outside a test run.

    The ledger forgets what was in it, so that a tenant's row may be deleted. If the test may use the shared
    database, that is two round trips more.
    """
    if not hasattr(test_utils._TestState, "saved_data"):
        raise RuntimeError("empty_object() works only in a test run, because it deletes all data.")
    connection = connections[alias]
    with unchecked(alias), connection.wrap_database_errors:
        connection.ensure_connection()
        empty(connection.connection)
    connection.close()
    if (slug := alias_slug(alias)) is not None:
        with suppress(DatabaseOperationForbidden):
            ledger.emptied(slug)
