"""D1 goes back to before a tenant's move: a fake of Cloudflare's API, and a stand-in for jurisdictions."""

import pytest
from django.core.management import CommandError
from django.db import connections

from accounts.models import Membership, Tenant
from do_bridge.management import time_travel
from do_bridge.members.models import DirtyFlag
from do_bridge.models import TenantState
from do_bridge.tenancy import places
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.tenants import lookup
from tests.infra.fake_time_travel import ACCOUNT, TOKEN, FakeTimeTravel
from tests.lifecycle.rewinding import run, titles
from tests.tenancy.moves import places_with_tables


@pytest.fixture
def travel(slug, monkeypatch):
    """D1's Time Travel; what it restores of the tenant is its place before the test."""
    before = TenantState.objects.filter(slug=slug).values("jurisdiction", "fence", "emptied").get()

    def back(bookmark):
        TenantState.objects.filter(slug=slug).update(**before)
        Tenant.objects.filter(slug=slug).update(jurisdiction="none")

    with FakeTimeTravel(connections["default"].settings_dict["NAME"], back) as running:
        monkeypatch.setenv("D1_API_BASE", running.api_base)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
        monkeypatch.setattr(time_travel, "in_test_environment", lambda: False)
        yield running
    DirtyFlag.objects.all().delete()


def restore():
    text = run("database_restore", "--bookmark", "00000001-0", "--noinput")
    # As another process reads it.
    lookup.forget()
    places.forget()
    return text


def test_a_tenant_that_was_moved_since_stays_where_its_rows_are(slug, travel):
    run("tenant_move", slug, "--jurisdiction", "eu")
    assert f"Tenant {slug!r} was moved since: D1 names its place of now again, eu." in restore()
    assert lookup.get(slug).jurisdiction == "eu"
    assert titles(slug) == ["before"]
    row = leases.look(slug)
    assert (row.jurisdiction, row.left_behind) == ("eu", "")
    # The place from before is erased in case that somebody has used the tenant in between.
    run("tenant_move", slug, "--jurisdiction", "us")
    assert places_with_tables(slug) == ["us"]
    assert titles(slug) == ["before"]


def test_a_move_does_not_erase_a_database_that_d1_has_forgotten(slug, travel):
    run("tenant_move", slug, "--jurisdiction", "eu")
    # D1 as a backup of it is loaded, by whatever means.
    travel.on_restore("")
    places.forget()
    with pytest.raises(CommandError, match="has a database in 'eu' that D1 does not know"):
        run("tenant_move", slug, "--jurisdiction", "eu")
    assert leases.look(slug).operation == ""
    TenantState.objects.filter(slug=slug).update(jurisdiction="eu")
    Tenant.objects.filter(slug=slug).update(jurisdiction="eu")
    places.forget()
    assert titles(slug) == ["before"]


def test_a_tenant_that_was_made_again_since_is_named(slug, travel):
    run("tenant_delete", slug, "--yes")
    run("create_tenant", slug)
    assert f"Tenant {slug!r} was deleted and created again since" in restore()


def test_the_place_of_a_tenant_that_was_created_since_is_named(slug, travel):
    def back(bookmark):
        TenantState.objects.filter(slug=slug).update(state="deleted")
        Membership.objects.filter(tenant__slug=slug)._raw_delete("default")
        Tenant.objects.filter(slug=slug)._raw_delete("default")

    travel.on_restore = back
    run("tenant_move", slug, "--jurisdiction", "eu")
    assert f"create_tenant --adopt {slug} --jurisdiction eu`" in restore()
    run("create_tenant", slug, "--adopt", "--jurisdiction", "eu")
    assert titles(slug) == ["before"]
