"""A tenant moves into another jurisdiction with all its rows, on a stand-in for jurisdictions."""

import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Tenant
from blog.models import Post
from do_bridge.members.syncing import add_member
from do_bridge.models import TenantState
from do_bridge.tenancy import places, tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import leases
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def slug(db, author):
    """A tenant in no jurisdiction with a member and a post."""
    made = unique_slug("m")
    tenant, *_ = create_tenant(made, "Moved", [author])
    with tenant_context(made):
        Post.objects.create(title="Before", content="-", user_id=author.pk)
    yield made
    for jurisdiction in ("", "eu", "us"):
        with connected(tenant_alias(made), jurisdiction) as connection:
            from do_bridge.backends.remote_sqlite.emptying import empty

            empty(connection)
    TenantState.objects.filter(slug=made).delete()


def move(slug, jurisdiction, *more):
    out = StringIO()
    call_command("tenant_move", slug, "--jurisdiction", jurisdiction, *more, stdout=out, stderr=out)
    return out.getvalue()


def titles(slug):
    return sorted(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))


def tables_at(slug, jurisdiction):
    """Return how many tables the tenant's object in a jurisdiction has."""
    with connected(tenant_alias(slug), jurisdiction) as connection:
        sql = "SELECT count(*) FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'"
        return connection.execute(sql).fetchone()[0]


def test_a_move_takes_everything_along_and_leaves_nothing_behind(slug, author):
    assert "rows moved, the tenant is in the jurisdiction eu" in move(slug, "eu", "--location", "weur")
    assert titles(slug) == ["Before"]
    assert connections[tenant_alias(slug)].connection.database.endswith(f"{slug}@eu")
    row = leases.look(slug)
    assert (row.jurisdiction, row.location, row.left_behind, row.operation) == ("eu", "weur", None, "")
    tenant = Tenant.objects.get(slug=slug)
    assert (tenant.jurisdiction, tenant.location) == ("eu", "weur")
    assert tables_at(slug, "") == 0
    assert tables_at(slug, "eu") > 10
    with tenant_context(slug):
        Post.objects.create(title="After", content="-", user_id=author.pk)
    assert "moved, the tenant is in no jurisdiction" in move(slug, "none")
    assert titles(slug) == ["After", "Before"]
    assert tables_at(slug, "eu") == 0
    assert "already" in move(slug, "none")
