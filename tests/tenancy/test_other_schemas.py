"""Code on a schema that is not its own: it runs where its migrations are all there, whatever else is."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.test import Client

from blog.models import Post
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.models import KnownSchema
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision_noted
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, code_migrations, of, write_statements
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.extra_schemas import GONE, RECORD, close, count, found_in, leave_app, migrate
from tests.tenancy.newer_code import INDEX, NAME, RATING

pytestmark = pytest.mark.usefixtures("no_schemas")

TABLE = 'migrations.CreateModel("Extra", [("id", models.BigAutoField(primary_key=True))])'


@pytest.fixture
def no_catch_up(settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}


@pytest.fixture
def to_objects(monkeypatch):
    """The names of the objects that are asked while the test runs."""
    names, send = [], RelaySession.request

    def request(self, message, deadline):
        if message.get("db", "").startswith("do:"):
            names.append(message["db"])
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return names


# Round trips


def test_older_code_asks_once_and_then_no_tenant_with_that_schema_costs_a_trip_more(
    acme, zeta, make_tenant, newer, trips
):
    other = make_tenant("other")
    with newer(RATING, INDEX, TABLE):
        for tenant in (acme, zeta):
            migrate(database=tenant_alias(tenant.slug))
    close(acme.slug, zeta.slug, other.slug)

    def cost(slug):
        before = trips.count
        assert count(slug) == 0
        return trips.count - before

    # Refused, asked for what is applied, sent again.
    assert cost(acme.slug) == 3
    assert cost(acme.slug) == 1
    close(acme.slug)
    assert cost(acme.slug) == 1
    # Another tenant is expected to be where the last one was.
    assert cost(zeta.slug) == 1
    # One that was not migrated yet has the code's own schema, which is known: refused, sent again.
    assert cost(other.slug) == 2
    assert cost(other.slug) == 1
    close(acme.slug, zeta.slug, other.slug)
    assert [cost(tenant.slug) for tenant in (acme, zeta, other)] == [1, 1, 1]


def test_a_connection_that_is_open_while_its_tenant_is_migrated_goes_on(acme, zeta, newer, trips):
    assert (count(acme.slug), count(zeta.slug)) == (0, 0)
    kept = [connections[tenant_alias(tenant.slug)].connection for tenant in (acme, zeta)]
    with newer(RATING, keep_open=True):
        in_thread(lambda: [migrate(database=tenant_alias(one.slug)) for one in (acme, zeta)])
    # What a new process starts with, on connections of the old code.
    for connection in kept:
        connection.expect = code_fingerprint()
    before = trips.count
    assert count(acme.slug) == 0
    assert trips.count - before == 3
    before = trips.count
    assert count(zeta.slug) == 0
    assert trips.count - before == 2
    before = trips.count
    assert (count(acme.slug), count(zeta.slug)) == (0, 0)
    assert trips.count - before == 2
    assert [connections[tenant_alias(one.slug)].connection for one in (acme, zeta)] == kept


def test_a_transaction_of_older_code_begins_on_the_newer_schema(acme, newer, trips):
    alias = tenant_alias(acme.slug)
    with newer(RATING):
        migrate(database=alias)
    close(acme.slug)
    before = trips.count
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO auth_group (name) VALUES ('x')")
        cursor.execute("SELECT count(*) FROM auth_group")
        assert cursor.fetchone() == (1,)
    # The first statement three, the second one, the commit one.
    assert trips.count - before == 5


def test_a_page_of_older_code_answers_and_its_writes_are_there(acme, newer, author, in_both):
    with newer(RATING, TABLE):
        migrate(database=tenant_alias(acme.slug))
        expected = code_fingerprint()
    assert Client().get(f"/t/{acme.slug}/").status_code == 200
    Post.objects.using(tenant_alias(acme.slug)).create(title="x", content="-", user_id=author.pk)
    assert count(acme.slug) == 1
    assert found_in(acme.slug).fingerprint == expected


def test_what_is_known_to_be_behind_is_refused_without_another_trip(acme, zeta, newer, no_catch_up, trips):
    with newer(RATING):
        for slug, cost in ((acme.slug, 2), (acme.slug, 1), (zeta.slug, 1)):
            before = trips.count
            with pytest.raises(TenantBehind, match="CATCH_UP"):
                count(slug)
            assert trips.count - before == cost


def test_memories_stay_bounded(monkeypatch):
    monkeypatch.setattr(known, "SETS", 2)
    monkeypatch.setattr(known, "OBJECTS", 2)
    marks = [known.learn({("shop", str(number))}) for number in range(3)]
    assert [known.migrations_of(mark) is not None for mark in marks] == [False, True, True]
    known.found("do:a", "aa")
    known.found("do:b", "bb")
    known.found("do:c", "cc")
    assert [known.expected(name) for name in ("do:b", "do:c", "do:a")] == ["bb", "cc", "cc"]


def test_threads_that_meet_a_newer_schema_at_once_all_go_on(acme, newer):
    with newer(RATING):
        migrate(database=tenant_alias(acme.slug))
    close(acme.slug)
    start = threading.Barrier(6)

    def read(_):
        start.wait(timeout=60)
        try:
            return count(acme.slug)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, range(6))) == [0] * 6


def in_thread(function):
    def run():
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


# An app that was taken out


def test_an_app_that_was_taken_out_harms_nobody(acme, trips):
    left = leave_app(acme.slug)
    assert Client().get(f"/t/{acme.slug}/").status_code == 200
    before = trips.count
    assert count(acme.slug) == 0
    assert trips.count - before == 1
    assert found_in(acme.slug).fingerprint == left


def test_a_tenant_behind_that_has_an_unknown_app_too_catches_up_and_keeps_it(acme, newer):
    leave_app(acme.slug)
    with newer(RATING):
        known.forget()
        assert Client().get(f"/t/{acme.slug}/").status_code == 200
        state = found_in(acme.slug)
        assert state.applied == code_migrations() | {GONE}
        assert state.fingerprint == of(state.applied)
        assert ledger.is_at(ledger.states(acme.slug)[acme.slug], state.fingerprint)


def test_a_run_over_all_tenants_asks_one_of_a_schema_and_the_next_run_none(
    empty_ledger, acme, zeta, to_objects, trips
):
    left = {tenant.slug: leave_app(tenant.slug) for tenant in (acme, zeta)}
    for slug, fingerprint in left.items():
        ledger.reached(slug, fingerprint)
    to_objects.clear()
    said = migrate()
    assert "2 tenants, 0 failed: 0 migrated, 2 already up to date" in said
    assert len(to_objects) == 1
    # Another process, later: nothing but two short answers of D1.
    known.forget()
    to_objects.clear()
    before = trips.count
    assert "2 tenants, 0 failed: 0 migrated, 2 already up to date" in migrate()
    assert (trips.count - before, to_objects) == (2, [])
    assert KnownSchema.objects.get().migrations.splitlines()[-1] == "shop.0001_initial"
    assert [Client().get(f"/t/{slug}/").status_code for slug in left] == [200, 200]


def test_tenants_with_an_unknown_app_are_migrated_like_others_and_not_visited_again(
    empty_ledger, acme, zeta, make_tenant, newer, to_objects
):
    other = make_tenant("other")
    ledger.reached(other.slug, code_fingerprint())
    for tenant in (acme, zeta):
        ledger.reached(tenant.slug, leave_app(tenant.slug))
    with newer(RATING):
        known.forget()
        assert "3 tenants, 0 failed: 3 migrated" in migrate()
        for tenant, extra in ((acme, {GONE}), (zeta, {GONE}), (other, set())):
            state = found_in(tenant.slug)
            assert (state.applied, state.fingerprint) == (code_migrations() | extra, of(state.applied))
            assert ledger.states(tenant.slug)[tenant.slug].fingerprint == state.fingerprint
        known.forget()
        to_objects.clear()
        assert "3 tenants, 0 failed: 0 migrated, 3 already up to date" in migrate()
        assert "up to date" in migrate("--plan")
        assert "3 tenants, 0 failed" in migrate("--check")
        assert to_objects == []


def test_looking_notes_no_schema(empty_ledger, acme):
    ledger.reached(acme.slug, leave_app(acme.slug))
    assert "1 tenants, 0 failed" in migrate("--check")
    assert "up to date" in migrate("--plan")
    assert not KnownSchema.objects.exists()


def test_a_schema_that_the_ledger_names_wrongly_is_not_believed(empty_ledger, acme, zeta, newer):
    # The ledger of one is wrong; the object that is asked says so.
    left = leave_app(zeta.slug)
    ledger.reached(acme.slug, left)
    with newer(RATING):
        ledger.reached(zeta.slug, code_fingerprint())
        assert "2 tenants, 0 failed: 1 migrated, 1 already up to date" in migrate()
        assert found_in(acme.slug).fingerprint == code_fingerprint()
        assert not KnownSchema.objects.exists()


def test_back_to_an_older_migration_by_name_tenants_with_more_are_judged_by_what_this_code_has(
    empty_ledger, acme, zeta, newer
):
    for tenant in (acme, zeta):
        leave_app(tenant.slug)
    with newer(RATING):
        migrate("--tenant", acme.slug)
        ledger.reached(zeta.slug, found_in(zeta.slug).fingerprint)
        assert "2 tenants, 0 failed: 1 migrated, 1 already up to date" in migrate("blog", "0001")
        assert found_in(acme.slug).applied == code_migrations() - {("blog", NAME)} | {GONE}


def test_a_tenant_made_over_a_schema_with_more_is_noted_as_it_is(empty_ledger, db):
    slug = unique_slug("taken")
    try:
        create_tenant(slug)
        left = leave_app(slug)
        create_tenant(slug)
        assert ledger.states(slug)[slug].fingerprint == left
        provision_noted(slug)
        assert ledger.states(slug)[slug].fingerprint == left
    finally:
        empty_object(tenant_alias(slug))


# Old and new code at once


def test_older_code_has_nothing_to_migrate_in_newer_tenants_and_new_code_nothing_afterwards(
    empty_ledger, acme, zeta, newer, to_objects
):
    with newer(RATING):
        assert "2 tenants, 0 failed: 2 migrated" in migrate()
    to_objects.clear()
    assert "2 tenants, 0 failed: 0 migrated, 2 already up to date" in migrate()
    assert len(to_objects) == 1
    known.forget()
    to_objects.clear()
    assert "0 migrated, 2 already up to date" in migrate()
    assert to_objects == []
    with newer(RATING):
        assert "0 migrated, 2 already up to date" in migrate()
        assert to_objects == []


def test_taken_back_by_name_a_schema_is_the_older_codes_again_and_newer_code_catches_up(acme, newer):
    alias = tenant_alias(acme.slug)
    with newer(RATING):
        migrate(database=alias)
        migrate("blog", "0001", database=alias)
    close(acme.slug)
    assert count(acme.slug) == 0
    assert found_in(acme.slug).fingerprint == code_fingerprint()
    with newer(RATING):
        assert count(acme.slug) == 0
        assert ("blog", NAME) in found_in(acme.slug).applied


def test_older_code_refuses_to_run_where_its_own_migration_is_missing(acme, newer, no_catch_up):
    with newer(RATING):
        migrate(database=tenant_alias(acme.slug))
        migrate("contenttypes", "0001", "--fake", database=tenant_alias(acme.slug))
    with pytest.raises(TenantBehind, match="is behind this code"):
        count(acme.slug)


def test_a_squashed_migration_in_newer_code_hurts_neither_code(acme, newer, tmp_path):
    alias = tenant_alias(acme.slug)
    squashed = ("blog", "0100_squashed")
    with newer(name=squashed[1], squashes=True):
        # Nothing is missing; the first use notes it, as Django's migrate does.
        assert count(acme.slug) == 0
        state = found_in(acme.slug)
        assert state.applied == code_migrations() >= {squashed, ("blog", "0001_initial")}
        assert state.fingerprint == code_fingerprint()
    close(acme.slug)
    assert count(acme.slug) == 0
    assert connections[alias].connection.expect == state.fingerprint


def test_a_squashed_migration_that_nothing_has_noted_is_not_missing(acme, newer, no_catch_up):
    with newer(name="0100_squashed", squashes=True):
        assert count(acme.slug) == 0
        assert ("blog", "0100_squashed") not in found_in(acme.slug).applied


def test_a_schema_that_changes_again_while_a_process_asks_is_asked_for_again(acme, newer, monkeypatch):
    alias = tenant_alias(acme.slug)
    with newer(RATING, name="0098_between"):
        migrate(database=alias)
    close(acme.slug)
    usable, passed = known.is_usable, []

    def overtaken(applied):
        # It was asked; before the request is sent again the next migration comes.
        if not passed:
            passed.append(applied)
            in_thread(lambda: record_quietly(acme.slug, "blog", "0099_after"))
        return usable(applied)

    monkeypatch.setattr(known, "is_usable", overtaken)
    assert count(acme.slug) == 0
    assert passed
    assert found_in(acme.slug).applied == code_migrations() | {
        ("blog", "0098_between"),
        ("blog", "0099_after"),
    }


def record_quietly(slug, app, name):
    """Record a migration in an object, as another process does, while this one forgets nothing."""
    connection = connections[tenant_alias(slug)]
    with unchecked(tenant_alias(slug)):
        applied = read_object(connection).applied | {(app, name)}
        run_batch(connection, [(RECORD, [app, name]), *write_statements(of(applied))])


def test_rows_of_migrations_that_were_changed_by_hand_get_their_fingerprint(acme, trips):
    alias = tenant_alias(acme.slug)
    with unchecked(alias), connections[alias].cursor() as cursor:
        cursor.execute(RECORD, ["shop", "0001"])
        cursor.execute("UPDATE _do_bridge_meta SET value = 'abc' WHERE key = 'schema'")
    close(acme.slug)
    assert count(acme.slug) == 0
    state = found_in(acme.slug)
    assert state.fingerprint == of(state.applied) == of(code_migrations() | {("shop", "0001")})


# Dumps and copies


def test_a_dump_that_newer_code_made_is_loaded_and_used_by_older_code(acme, newer, load):
    with newer(RATING):
        migrate(database=tenant_alias(acme.slug))
        expected = code_fingerprint()
    slug, said = load(acme.slug)
    assert "migrate" not in said
    assert Client().get(f"/t/{slug}/").status_code == 200
    assert found_in(slug).fingerprint == ledger.states(slug)[slug].fingerprint == expected


def test_a_dump_with_an_app_that_was_taken_out_keeps_it_and_catches_up(acme, newer, load):
    leave_app(acme.slug)
    with newer(RATING):
        slug, said = load(acme.slug)
        assert f"lacks migrations of this code: blog.{NAME}. Run `manage.py migrate" in said
        assert Client().get(f"/t/{slug}/").status_code == 200
        state = found_in(slug)
        assert (state.applied, state.fingerprint) == (code_migrations() | {GONE}, of(state.applied))
