"""A ledger of before leases: ready tenants stay ready, and what was unfinished is found so."""

import pytest
from django.core.management import call_command
from django.db import connections

from accounts.models import Tenant
from blog.models import Post
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint

# (state, doing, error) of before: (state, operation) of now.
ROWS = {
    ("ready", "migrate", ""): ("ready", ""),
    ("ready", "create", ""): ("ready", ""),
    ("deleted", "delete", ""): ("deleted", ""),
    ("migrating", "migrate: not used yet", ""): ("unused", ""),
    ("failed", "migrate", "TenantUnclaimed: whose"): ("unused", ""),
    ("migrating", "catch up on first use", ""): ("ready", "migrate"),
    ("failed", "migrate blog 0001", "no luck"): ("ready", "migrate"),
    ("migrating", "load", ""): ("unused", "load"),
    ("failed", "delete", "cut"): ("ready", "delete"),
}


@pytest.fixture
def old(db):
    """D1 with the ledger of before."""
    call_command("migrate", "do_bridge", "0003", database="default", verbosity=0)
    yield
    call_command("migrate", database="default", verbosity=0)
    TenantState.objects.all().delete()


def test_rows_are_what_they_were(old, make_row):
    slugs = {f"old-{number}": before for number, before in enumerate(ROWS)}
    make_row(slugs)
    call_command("migrate", database="default", verbosity=0)
    rows = ledger.states(list(slugs))
    assert {slug: (rows[slug].state, rows[slug].operation) for slug in slugs} == {
        slug: ROWS[before] for slug, before in slugs.items()
    }
    assert not any(row.is_live for row in leases.look_at_many(slugs).values())


def test_a_tenant_that_was_ready_is_used_on_and_can_be_deleted(acme, old, make_row):
    ledger_row = {acme.slug: ("ready", "create", "")}
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM do_bridge_tenantstate")
    make_row(ledger_row)
    call_command("migrate", database="default", verbosity=0)
    assert not Post.objects.using(tenant_alias(acme.slug)).exists()
    assert ledger.states(acme.slug)[acme.slug].state == "ready"
    call_command("tenant_delete", acme.slug, "--yes", verbosity=0)
    assert not Tenant.objects.filter(slug=acme.slug).exists()


@pytest.fixture
def make_row():
    """Writes rows of before leases, {slug: (state, doing, error)}."""

    def make(rows):
        sql = (
            "INSERT INTO do_bridge_tenantstate (slug, fingerprint, state, since, doing, version, error) "
            "VALUES (%s, %s, %s, '2026-01-01 00:00:00', %s, '', %s)"
        )
        run_batch(
            connections["default"],
            [
                (sql, (slug, code_fingerprint(), state, doing, error))
                for slug, (state, doing, error) in rows.items()
            ],
        )

    return make


def test_tenants_of_before_are_where_the_settings_had_them(acme, monkeypatch):
    from importlib import import_module

    call_command("migrate", "do_bridge", "0004", database="default", verbosity=0)
    try:
        migration = import_module("do_bridge.migrations.0005_place").Migration
        placing = migration.operations[-1]
        monkeypatch.setattr(placing, "sql", [(placing.sql[0][0], ["eu"])])
        call_command("migrate", database="default", verbosity=0)
        row = leases.look(acme.slug)
        assert (row.jurisdiction, row.location, row.left_behind) == ("eu", "", None)
    finally:
        call_command("migrate", database="default", verbosity=0)
        TenantState.objects.all().delete()


def test_code_of_before_the_places_takes_leases(db):
    names = "slug, fingerprint, state, since, operation, owner, fence, emptied, version, error"
    values = "'old-code', '', 'unused', '2026-01-01', '', '', 0, 0, '', ''"
    run_batch(
        connections["default"],
        [(f"INSERT INTO do_bridge_tenantstate ({names}) VALUES ({values})", None)],  # noqa: S608
    )
    assert leases.look("old-code").jurisdiction == ""
