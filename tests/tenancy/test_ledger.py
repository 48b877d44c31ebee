"""The ledger: many rows in one trip, what is kept and what is replaced, and who is behind."""

from functools import partial

import pytest
from django.db import connections

from accounts.models import Tenant
from do_bridge.models import TenantState
from do_bridge.tenancy import tenants as directory
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.states import Row
from do_bridge.tenancy.schema import fingerprint
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, of
from tests.tenancy.cut_off import cut_off


def test_a_fingerprint_is_of_the_set_whatever_its_order():
    assert of([("a", "0001"), ("b", "0001")]) == of([("b", "0001"), ("a", "0001")])
    assert of([("a", "0001")]) != of([("a", "0002")])
    assert len(of([])) == 64


def test_the_codes_fingerprint_is_that_of_a_migrated_database(acme):
    alias = f"tenant/{acme.slug}"
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        assert of(cursor.fetchall()) == code_fingerprint()
        cursor.execute(fingerprint.READ_META)
        assert cursor.fetchone() == (code_fingerprint(),)


def test_a_thousand_tenants_are_noted_and_read_in_one_trip_each(empty_ledger, trips):
    slugs = [f"t-{number}" for number in range(1000)]
    for step in (
        lambda: ledger.reached(slugs, "aa"),
        lambda: leases.take_many([Row(slug) for slug in slugs], "migrate"),
        lambda: leases.look_at_many(slugs),
        lambda: ledger.states(slugs),
    ):
        before = trips.count
        step()
        assert trips.count - before == 1
    assert ledger.states(slugs).keys() == set(slugs)


def test_beginning_and_failing_keep_the_fingerprint_that_was_reached(empty_ledger):
    ledger.reached("acme", "aa")
    lease = cut_off("acme", "migrate")["acme"]
    row = TenantState.objects.get(pk="acme")
    assert (row.status, row.fingerprint, row.operation, row.error) == (
        "migrate not finished",
        "aa",
        "migrate",
        "",
    )
    leases.fail(lease, ValueError("no such column"))
    row = TenantState.objects.get(pk="acme")
    assert (row.status, row.fingerprint, row.error) == ("migrate failed", "aa", "ValueError: no such column")
    leases.settle(cut_off("acme", "migrate")["acme"], fingerprint="bb")
    row = TenantState.objects.get(pk="acme")
    assert (row.state, row.operation, row.fingerprint, row.error) == ("ready", "", "bb", "")
    assert row.version.startswith("do_bridge")
    ledger.forget("acme")
    assert ledger.states("acme") == {}


def test_the_version_that_the_settings_name_is_noted(db, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "VERSION": "release-7"}
    ledger.reached("acme", "aa")
    assert TenantState.objects.get(pk="acme").version == "release-7"


def test_behind_are_all_that_are_not_known_to_be_ready_at_head(db):
    for slug in ("ready", "older", "cut-off", "broken", "unknown"):
        Tenant.objects.create(slug=slug, name=slug)
    ledger.reached("ready", code_fingerprint())
    ledger.reached("older", "aa")
    ledger.reached("cut-off", code_fingerprint())
    cut_off("cut-off", "migrate")
    cut_off("broken", "migrate", error="why")
    assert ledger.behind() == ["broken", "cut-off", "older", "unknown"]
    assert ledger.behind(["ready", "older"]) == ["older"]


def test_many_rows_are_read_in_pieces_and_an_answer_that_finds_none_behind_is_empty(
    empty_ledger, monkeypatch, trips
):
    slugs = [f"t-{number:02}" for number in range(25)]
    Tenant.objects.bulk_create([Tenant(slug=slug, name=slug) for slug in slugs])
    ledger.reached(slugs, code_fingerprint())
    leases.settle(cut_off("t-07", "delete")["t-07"], "deleted")
    monkeypatch.setattr(directory, "CHUNK", 5)
    monkeypatch.setattr(ledger, "PIECE", 10)
    before = trips.count
    assert directory.registered_slugs() == slugs
    assert trips.count - before == 6
    before = trips.count
    assert ledger.behind() == ["t-07"]
    assert trips.count - before == 1
    before = trips.count
    assert sorted(ledger.states(slugs)) == slugs
    assert trips.count - before == 3
    assert ledger.behind(fingerprints=["other"]) == slugs
    assert ledger.behind(fingerprints=[]) == slugs
    before = trips.count
    assert ledger.survey() == (24, {})
    assert trips.count - before == 1
    assert ledger.survey(["t-06", "t-07", "nobody"]) == (1, {})


def test_the_schemas_noted_last_are_read_with_the_number_of_tenants(empty_ledger, monkeypatch):
    one, two = frozenset({("a", "0001"), ("b", "0001_x")}), frozenset({("a", "0001")})
    ledger.note_schemas({})
    ledger.note_schemas({of(one): one})
    ledger.note_schemas({of(two): two})
    assert ledger.survey()[1] == {of(one): one, of(two): two}
    assert ledger.schemas([of(two), "none"]) == {of(two): two}
    monkeypatch.setattr(ledger, "SCHEMAS", 1)
    assert ledger.survey()[1] == {of(two): two}
    ledger.note_schemas({of(one): one})
    assert ledger.survey()[1] == {of(one): one}


def test_without_the_directorys_table_it_says_what_to_run(db):
    table = TenantState._meta.db_table
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO kept")
        try:
            begin = partial(cut_off, "acme", "migrate")
            for step in (partial(ledger.states, "acme"), ledger.behind, ledger.survey, begin):
                with pytest.raises(ledger.LedgerMissing, match="migrate --database default"):
                    step()
        finally:
            cursor.execute(f"ALTER TABLE kept RENAME TO {table}")
