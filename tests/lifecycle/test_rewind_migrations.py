"""Bookmarks before migrations, and the way back with the data: on a stand-in for the platform's recovery."""

import logging
import os
import time
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils.timezone import now

from do_bridge import driver
from do_bridge.models import TenantBookmark
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant, unchecked
from do_bridge.tenancy.migrate.catch_up import catch_up
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.infra.test_relay_upgrades import FORMER, OtherRelay
from tests.lifecycle.conftest import tenants_on
from tests.lifecycle.rewinding import run, titles, write
from tests.tenancy.newer_code import RATING

BAD = """migrations.RunSQL("UPDATE blog_post SET title = 'ruined'")"""


#: How many go back to before a migration: `REWIND_TENANTS=100` takes minutes.
TENANTS = int(os.environ.get("REWIND_TENANTS", "6"))


def migrate(slug):
    call_command("migrate", database=tenant_alias(slug), verbosity=0, interactive=False)


def migrate_all():
    call_command("migrate", database="tenant", verbosity=0, interactive=False)


def kept(slug):
    return list(
        TenantBookmark.objects.filter(slug=slug, reason="migration").values_list("bookmark", flat=True)
    )


def stored_titles(slug):
    alias = tenant_alias(slug)
    with unchecked(alias):
        (result,) = run_batch(connections[alias], [("SELECT title FROM blog_post ORDER BY id", None)])
    return [title for (title,) in result.rows]


@pytest.mark.parametrize("how", ["one", "all", "first use"])
def test_a_bad_migration_is_taken_back_with_its_data_on_a_stand_in(slug, author, newer, how):
    before = code_fingerprint()
    with newer(RATING, BAD):
        {"one": migrate, "all": lambda slug: migrate_all(), "first use": catch_up}[how](slug)
        assert stored_titles(slug) == ["ruined"]
        assert len(kept(slug)) == 1
        text = run("tenant_restore", slug, "--before-migration", "--noinput")
        assert "applies it again" in text
        # The schema of before, which the older code runs on.
        assert read_tenant(slug).fingerprint == leases.look(slug).fingerprint == before
        assert stored_titles(slug) == ["before"]
        with pytest.raises(CommandError, match="already"):
            run("tenant_restore", slug, "--before-migration", "--noinput")
    write(slug, author, "after")
    assert titles(slug) == ["before", "after"]


def test_an_older_schema_is_migrated_at_once_on_a_stand_in(slug, newer):
    moment = now()
    with newer(RATING):
        migrate(slug)
        text = run("tenant_restore", slug, "--to", moment.isoformat(), "--noinput")
        assert "Its schema was migrated" in text
        assert read_tenant(slug).fingerprint == code_fingerprint() == leases.look(slug).fingerprint
        assert titles(slug) == ["before"]


def test_an_older_schema_is_kept_if_asked_on_a_stand_in(slug, newer):
    before, moment = code_fingerprint(), now()
    with newer(RATING):
        migrate(slug)
        run("tenant_restore", slug, "--to", moment.isoformat(), "--noinput", "--keep-schema")
        assert read_tenant(slug).fingerprint == before


def test_nothing_is_kept_where_nothing_is_done_on_a_stand_in(slug):
    migrate(slug)
    migrate_all()
    catch_up(slug)
    assert kept(slug) == []


@pytest.mark.parametrize("bring", [migrate, catch_up], ids=["migrate", "first use"])
def test_a_bookmark_costs_one_round_trip_and_none_to_d1_on_a_stand_in(slug, newer, settings, bring):
    def counted():
        with newer(RATING), driver.count_trips() as trips:
            bring(slug)
        return trips.count

    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "BOOKMARKS": False}
    moment = now()
    without = counted()
    assert kept(slug) == []
    run("tenant_restore", slug, "--to", moment.isoformat(), "--noinput")
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "BOOKMARKS": True}
    assert counted() == without + 1
    assert len(kept(slug)) == 1


def test_a_chunk_of_the_fleet_costs_one_round_trip_on_a_stand_in(make_tenant, newer):
    slugs = [make_tenant() for _ in range(5)]
    rows = list(leases.look_at_many(slugs).values())
    with driver.count_trips() as trips:
        statements = bookmarks.before_migration(rows, "owner")
    assert trips.count == 1
    assert len(statements) == 2


def test_a_token_for_objects_alone_migrates_without_a_bookmark_on_a_stand_in(slug, newer, history, caplog):
    token = history.tokens["RELAY_TOKEN_TENANTS"]
    with (
        tenants_on(history, token),
        newer(RATING),
        caplog.at_level(logging.WARNING, "do_bridge.migrations"),
    ):
        migrate(slug)
        assert read_tenant(slug).fingerprint == code_fingerprint()
    assert kept(slug) == []
    (warning,) = [one.message for one in caplog.records if "No bookmark" in one.message]
    assert "RELAY_TOKEN, not RELAY_TOKEN_TENANTS" in warning


def test_an_older_relay_migrates_without_a_bookmark(db, tmp_path, newer, caplog):
    (script, *_) = FORMER
    slug = unique_slug("former")
    with OtherRelay(tmp_path / "former", script) as relay, tenants_on(relay):
        create_tenant(slug)
        lookup.get(slug)
        with newer(RATING), caplog.at_level(logging.WARNING, "do_bridge.migrations"):
            migrate(slug)
            assert read_tenant(slug).fingerprint == code_fingerprint()
        assert kept(slug) == []
        assert "relay deploy" in caplog.text
        for command in (
            ["tenant_bookmark", slug],
            ["tenant_restore", slug, "--bookmark", "0-1", "--noinput"],
        ):
            with pytest.raises(CommandError, match="relay deploy"):
                run(*command)
        assert leases.look(slug).operation == ""
        empty_object(tenant_alias(slug))


def test_old_bookmarks_are_deleted_by_the_next_one_on_a_stand_in(slug, newer):
    TenantBookmark.objects.create(
        slug="gone", bookmark="0", taken=now() - timedelta(days=31), reason="request"
    )
    with newer(RATING):
        migrate(slug)
    assert not TenantBookmark.objects.filter(slug="gone").exists()


def test_a_migration_goes_on_while_d1_has_no_table_for_bookmarks_on_a_stand_in(slug, newer):
    table = TenantBookmark._meta.db_table
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        with newer(RATING):
            migrate(slug)
            assert read_tenant(slug).fingerprint == code_fingerprint()
            with pytest.raises(CommandError, match="do_bridge_tenantbookmark|ledger"):
                run("tenant_restore", slug, "--bookmark", "00000001-0", "--noinput")
            assert leases.look(slug).operation == ""
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


def test_a_fleet_goes_back_to_before_its_migrations_on_a_stand_in(make_tenant, author, newer):
    slugs = [make_tenant() for _ in range(TENANTS)]
    with newer(RATING):
        migrate(slugs[0])
        TenantBookmark.objects.filter(slug=slugs[0]).update(taken=now() - timedelta(days=3))
        since = now()
        with newer(BAD, name="0100_bad"):
            migrate_all()
            start = time.monotonic()
            text = run(
                "tenant_restore", "--all", "--before-migration", "--since", since.isoformat(), "--noinput"
            )
            print(f"{TENANTS} tenants went back in {time.monotonic() - start:.1f} s")  # noqa: T201
            assert f"{TENANTS} tenants go back" in text
            assert f"{TENANTS} tenants, 0 failed" in text
            assert {slug: stored_titles(slug) for slug in slugs} == {slug: ["before"] for slug in slugs}
            with pytest.raises(CommandError, match="were restored already"):
                run(
                    "tenant_restore", "--all", "--before-migration", "--since", since.isoformat(), "--noinput"
                )


def test_a_fleet_goes_back_to_before_the_first_of_several_on_a_stand_in(make_tenant, newer):
    slugs = [make_tenant() for _ in range(2)]
    since = now()
    with newer(RATING):
        migrate_all()
        with newer(BAD, name="0100_bad"):
            migrate_all()
            every = (
                "tenant_restore",
                "--all",
                "--before-migration",
                "--since",
                since.isoformat(),
                "--noinput",
            )
            run(*every)
            assert [stored_titles(slug) for slug in slugs] == [["before"], ["before"]]
            with pytest.raises(CommandError, match="were restored already"):
                run(*every)


def test_a_refused_restore_does_not_count_on_a_stand_in(slug, newer):
    with newer(BAD):
        migrate(slug)
        with pytest.raises(CommandError, match="history can't be used"):
            run("tenant_restore", slug, "--bookmark", "ffffffff-0", "--noinput")
        run("tenant_restore", slug, "--before-migration", "--noinput")
        assert stored_titles(slug) == ["before"]


def test_bookmarks_are_listed_on_a_stand_in(slug, newer):
    with newer(BAD):
        migrate(slug)
        run("tenant_restore", slug, "--before-migration", "--noinput")
    first, second = run("tenant_bookmark", slug, "--list").splitlines()
    assert "Before a restore" in first
    assert "restored" not in first
    assert "Before a migration, restored" in second


def test_a_fleet_goes_on_past_a_failure_on_a_stand_in(make_tenant, newer):
    slugs = [make_tenant() for _ in range(3)]
    since = now()
    with newer(BAD):
        migrate_all()
        TenantBookmark.objects.filter(slug=slugs[1], reason="migration").update(bookmark="ffffffff-0")
        every = ("tenant_restore", "--all", "--before-migration", "--since", since.isoformat(), "--noinput")
        with pytest.raises(CommandError, match=f"1 of 3 tenants failed: {slugs[1]}"):
            run(*every)
        assert [stored_titles(slug) for slug in slugs] == [["before"], ["ruined"], ["before"]]
        with pytest.raises(CommandError, match="1 of 1 tenants failed"):
            run(*every)
