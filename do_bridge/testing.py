"""Helpers for tests of code that uses tenants."""

from contextlib import contextmanager, suppress
from uuid import uuid4

from django.db import connections
from django.test import TestCase
from django.test.testcases import DatabaseOperationForbidden

from do_bridge.backends.environment import in_test_environment
from do_bridge.tenancy.lifecycle.looking import unchecked

from .backends.remote_sqlite.emptying import empty
from .tenancy.context import tenant_context
from .tenancy.databases import register_tenant
from .tenancy.lifecycle import leases, ledger
from .tenancy.lifecycle.provision import provision
from .tenancy.lifecycle.states import Operation
from .tenancy.slugs import alias_slug, tenant_alias


class TenantTestCase(TestCase):
    """A TestCase that runs inside one tenant, in transactions of its Durable Object.

    Set `tenant_slug`. Its alias is added to `databases`, so the test runner creates the object. Add "default"
    to `databases` if the code uses the shared database or calls `atomic()` without `using`. D1 has no
    transactions, so its rows are restored after each test instead.
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
    """Create a migrated Durable Object for one test.

    Yields its slug, and empties the object afterwards. The tenant has no row in D1: create one if the code
    under test looks it up. Needs the shared database (pytest.mark.django_db), because content types are
    copied from there. Raises RuntimeError outside a test run.
    """
    if not in_test_environment():
        raise RuntimeError(
            "provision_test_tenant() works only in a test run, because it empties the object "
            "afterwards. Run it with `manage.py test` or pytest."
        )
    slug = slug or unique_slug()
    # The lease stays, so that the tables count as the tenant's when the test creates its row.
    lease = leases.take_many([leases.look(slug)], Operation.MIGRATE, seconds=0)[slug]
    provision(slug, lease=lease)
    try:
        yield slug
    finally:
        empty_object(tenant_alias(slug))


def empty_object(alias):
    """Drop everything in the database `alias`, in two round trips.

    Raises RuntimeError outside a test run. If the test may use the shared database, the tenant's state in the
    ledger is reset as well, so that the tenant's row can be deleted. That takes two more round trips.
    """
    if not in_test_environment():
        raise RuntimeError(
            "empty_object() works only in a test run, because it deletes all data. Run it with "
            "`manage.py test` or pytest. To delete a tenant, use `manage.py tenant_delete`."
        )
    connection = connections[alias]
    with unchecked(alias), connection.wrap_database_errors:
        connection.ensure_connection()
        empty(connection.connection)
    connection.close()
    if (slug := alias_slug(alias)) is not None:
        with suppress(DatabaseOperationForbidden):
            ledger.emptied(slug)
