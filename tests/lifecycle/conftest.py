"""Objects with a history, for the tests that take tenants back to a moment."""

from contextlib import contextmanager

import pytest


@contextmanager
def tenants_on(relay, token=None):
    """Let the tenants' objects be those of another relay in this block; D1 stays where it is.

    `token` is another one than the relay's first.
    """
    from django.conf import settings
    from django.db import connections

    from do_bridge.tenancy.databases import tenant_databases
    from do_bridge.tenancy.lifecycle import provision
    from do_bridge.tenancy.lifecycle.history import bookmarks
    from do_bridge.tenancy.schema import known

    def forget():
        for alias in tenant_databases().live_aliases():
            connections[alias].close()
            del connections[alias]
        settings.DATABASES._derived.clear()
        provision._dumps.clear()
        known.forget()
        bookmarks._warned.clear()

    template = settings.DATABASES["tenant"]
    before = template["HOST"], template["PASSWORD"]
    forget()
    template["HOST"], template["PASSWORD"] = relay.url, token or relay.token
    try:
        yield relay
    finally:
        forget()
        template["HOST"], template["PASSWORD"] = before


@pytest.fixture
def history(history_worker, db):
    """The tenants' objects are those of the HistoryWorker during the test."""
    with tenants_on(history_worker):
        yield history_worker


@pytest.fixture
def author(db):
    from accounts.models import User

    return User.objects.create_user("ada", password="secret-of-ada", name="Ada")


@pytest.fixture
def make_tenant(history, author):
    """Makes tenants with a member and a post, on the HistoryWorker; returns their slugs."""
    from accounts.models import Membership, Tenant
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.lifecycle.creation import create_tenant
    from do_bridge.tenancy.tenants import lookup
    from do_bridge.testing import empty_object, unique_slug
    from tests.lifecycle.rewinding import write

    made = []

    def make(prefix="rewind"):
        slug = unique_slug(prefix)
        made.append(slug)
        create_tenant(slug)
        Membership.objects.create(user=author, tenant=Tenant.objects.get(slug=slug))
        write(slug, author, "before")
        # This settles its creation.
        lookup.get(slug)
        return slug

    yield make
    for slug in made:
        empty_object(tenant_alias(slug))


@pytest.fixture
def slug(make_tenant):
    return make_tenant()


@pytest.fixture
def newer(tmp_path):
    """Makes the code newer by a migration with the given operations, until a block ends."""
    from tests.tenancy.newer_code import newer_code

    return lambda *operations, **options: newer_code(tmp_path, *operations, **options)
