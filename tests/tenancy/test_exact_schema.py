"""DO_BRIDGE["REQUIRE_EXACT_SCHEMA"]: code that wants its own schema alone refuses tenants with more."""

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.schema.errors import CodeTooOld
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.tenancy.extra_schemas import GONE, close, count, leave_app, migrate
from tests.tenancy.newer_code import NAME, RATING

pytestmark = pytest.mark.usefixtures("no_schemas")


@pytest.fixture
def exact(settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "REQUIRE_EXACT_SCHEMA": True}


def test_with_an_exact_schema_required_older_code_is_refused_by_name_at_no_further_trip(
    acme, newer, exact, trips
):
    with newer(RATING):
        migrate(database=tenant_alias(acme.slug))
    close(acme.slug)
    for cost in (2, 1, 1):
        before = trips.count
        with pytest.raises(CodeTooOld, match=f"does not have: blog.{NAME}.*REQUIRE_EXACT_SCHEMA"):
            count(acme.slug)
        assert trips.count - before == cost
    assert Client().get(f"/t/{acme.slug}/").status_code == 503


@pytest.mark.parametrize("unknown", [("blog", "0050_deleted"), GONE])
def test_the_remedy_in_the_message_works_as_typed(acme, exact, unknown):
    leave_app(acme.slug, unknown)
    with pytest.raises(CodeTooOld, match=r"run `migrate \w+ --prune --database tenant/") as caught:
        count(acme.slug)
    typed = re.search("`migrate (.*)`", str(caught.value))[1].split()
    out = StringIO()
    call_command("migrate", *typed, interactive=False, stdout=out, no_color=True)
    assert f"Pruning {unknown[0]}.{unknown[1]} OK" in out.getvalue()
    assert count(acme.slug) == 0
    assert ledger.is_at(ledger.states(acme.slug)[acme.slug], code_fingerprint())
    out = StringIO()
    call_command("migrate", *typed, interactive=False, stdout=out, no_color=True)
    assert "No migrations to prune" in out.getvalue()


def test_rows_of_an_app_that_was_taken_out_are_pruned_in_all_tenants(empty_ledger, acme, zeta, exact):
    for tenant in (acme, zeta):
        ledger.reached(tenant.slug, leave_app(tenant.slug))
    assert "2 tenants, 0 failed: 2 done now" in migrate("shop", "--prune")
    assert [count(tenant.slug) for tenant in (acme, zeta)] == [0, 0]
    assert "2 at their place already" in migrate()


def test_with_an_exact_schema_required_a_run_over_all_tenants_fails_for_those_that_are_refused(
    empty_ledger, acme, zeta, exact
):
    ledger.reached(acme.slug, leave_app(acme.slug))
    ledger.reached(zeta.slug, code_fingerprint())
    for _ in range(2):
        with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {acme.slug}"):
            migrate()
        state = ledger.states(acme.slug)[acme.slug]
        assert (state.status, "does not have: shop.0001_initial" in state.error) == ("migrate failed", True)


def test_the_default_of_the_setting_lets_code_run(settings):
    from do_bridge.tenancy.conf import conf

    assert conf("REQUIRE_EXACT_SCHEMA") is False


def test_where_an_exact_schema_is_required_a_load_says_that_the_tenant_will_be_refused(acme, load, exact):
    leave_app(acme.slug)
    slug, said = load(acme.slug)
    assert "does not have: shop.0001_initial. DO_BRIDGE['REQUIRE_EXACT_SCHEMA'] refuses" in said
    with pytest.raises(CodeTooOld, match="shop.0001_initial"):
        count(slug)
