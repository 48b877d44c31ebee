"""Tenants that live for one test, with their rows in the directory."""

# Models are imported in the fixtures: this file is read before the settings' environment is ready.
import pytest


@pytest.fixture
def make_tenant(db):
    """Makes tenants with a row in the directory and a provisioned object; returns the row."""
    from accounts.models import Tenant
    from do_bridge.tenancy.directory import lookup
    from do_bridge.testing import provision_test_tenant, unique_slug

    opened = []

    def make(prefix="t"):
        context = provision_test_tenant(unique_slug(prefix))
        slug = context.__enter__()
        opened.append(context)
        return Tenant.objects.create(slug=slug, name=slug.title())

    yield make
    for context in opened:
        context.__exit__(None, None, None)
    lookup.forget()


@pytest.fixture
def acme(make_tenant):
    return make_tenant("acme")


@pytest.fixture
def zeta(make_tenant):
    return make_tenant("zeta")


@pytest.fixture
def author(db):
    """A user of the directory."""
    from accounts.models import User

    return User.objects.create_user("ada", password="secret-of-ada", name="Ada")


@pytest.fixture
def in_both(acme, zeta, author):
    """The author's copies in both tenants, under the same key; returns that key."""
    from accounts.models import User
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.copies import copy_rows

    for tenant in (acme, zeta):
        copy_rows(User, [author], tenant_alias(tenant.slug))
    return author.pk


@pytest.fixture
def empty_ledger(db):
    """The ledger without the tenants that other modules register: Django's test set-up migrates those."""
    from do_bridge.models import TenantState

    TenantState.objects.all().delete()
