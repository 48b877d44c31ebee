"""A tenant behind the code is brought to head on first use."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import Client

from blog.models import Post
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision_noted
from do_bridge.tenancy.migrate.executor import read_fingerprint
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, of
from tests.tenancy import newer_code
from tests.tenancy.cut_off import cut_off
from tests.tenancy.newer_code import NAME, PYTHON, RATING


def count(slug):
    return Post.objects.using(tenant_alias(slug)).count()


def in_threads(number, function):
    """Run a function in threads at once, each with connections of its own; return what they returned."""
    start = threading.Barrier(number)

    def run(_):
        start.wait(timeout=10)
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def times_applied(slug):
    with unchecked(), connections[tenant_alias(slug)].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE name = %s", [NAME])
        return cursor.fetchone()[0]


def state_of(slug):
    return ledger.states(slug)[slug]


def test_the_first_to_come_migrates_once_and_the_others_wait(acme, newer):
    with newer(RATING, PYTHON):
        ran = []
        newer_code.heard.append(ran.append)
        assert in_threads(6, lambda: count(acme.slug)) == [0] * 6
        assert ran == [tenant_alias(acme.slug)]
        assert times_applied(acme.slug) == 1
        assert ledger.is_at(state_of(acme.slug), code_fingerprint())


def test_two_runs_at_the_same_time_apply_a_migration_once(acme, newer):
    with newer(RATING):
        alias = tenant_alias(acme.slug)
        in_threads(3, lambda: call_command("migrate", database=alias, verbosity=0, interactive=False))
        assert times_applied(acme.slug) == 1


def test_a_transaction_begins_on_the_caught_up_schema(acme, newer):
    from django.db import transaction

    alias = tenant_alias(acme.slug)
    assert count(acme.slug) == 0
    with newer(RATING):
        connections[alias].close()
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("INSERT INTO auth_group (name) VALUES ('x')")
            cursor.execute("SELECT count(*), (SELECT count(rating) FROM blog_post) FROM auth_group")
            assert cursor.fetchone() == (1, 0)


def test_a_tenant_at_head_pays_no_trip_for_being_checked(acme, trips):
    count(acme.slug)
    before = trips.count
    count(acme.slug)
    assert trips.count - before == 1


def test_a_page_of_a_tenant_that_is_behind_brings_it_to_head(acme, newer):
    with newer(RATING):
        assert Client().get(f"/t/{acme.slug}/").status_code == 200
        assert times_applied(acme.slug) == 1


def test_with_catching_up_switched_off_visitors_get_a_clear_503_and_the_tenant_stays(acme, newer, settings):
    provision_noted(acme.slug)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    with newer(RATING):
        response = Client().get(f"/t/{acme.slug}/")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert "try again" in response.content.decode()
        with pytest.raises(TenantBehind, match=f"migrate --database tenant --tenant {acme.slug}"):
            count(acme.slug)
        assert times_applied(acme.slug) == 0


def test_a_migration_that_fails_is_told_noted_and_not_tried_at_every_request(acme, newer):
    def fail(alias):
        tried.append(alias)
        raise RuntimeError("no such luck")

    tried = []
    provision_noted(acme.slug)
    before = code_fingerprint()
    with newer(RATING, PYTHON):
        newer_code.heard.append(fail)
        for _ in range(3):
            with pytest.raises(TenantBehind, match="no such luck"):
                count(acme.slug)
        assert len(tried) == 1
        assert (state_of(acme.slug).status, state_of(acme.slug).error) == (
            "migrate failed",
            "RuntimeError: no such luck",
        )
        with unchecked(tenant_alias(acme.slug)):
            assert read_fingerprint(connections[tenant_alias(acme.slug)]) == before


def test_an_object_without_a_fingerprint_is_migrated_or_given_one(acme):
    alias = tenant_alias(acme.slug)
    with unchecked(alias), connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE _do_bridge_meta")
    assert count(acme.slug) == 0
    with unchecked(alias):
        state = read_object(connections[alias])
    assert state.fingerprint == of(state.applied) == code_fingerprint()


def test_a_registered_tenant_without_any_table_is_provisioned_on_first_use(acme):
    from do_bridge.testing import empty_object

    empty_object(tenant_alias(acme.slug))
    assert count(acme.slug) == 0
    assert ledger.is_at(state_of(acme.slug), code_fingerprint())


def test_an_object_that_no_tenant_has_stays_as_it_is(db):
    from do_bridge.testing import unique_slug

    with pytest.raises(OperationalError, match="no such table"):
        count(unique_slug("nobody"))


def test_work_of_another_kind_that_is_unfinished_keeps_visitors_out(acme, newer):
    provision_noted(acme.slug)
    cut_off(acme.slug, "delete")
    with newer(RATING), pytest.raises(TenantBehind, match="delete is not finished"):
        count(acme.slug)


def test_showmigrations_looks_and_touches_nothing(acme, newer, capsys):
    with newer(RATING):
        call_command("showmigrations", "blog", database=tenant_alias(acme.slug))
        assert f"[ ] {NAME}" in capsys.readouterr().out
        assert times_applied(acme.slug) == 0
