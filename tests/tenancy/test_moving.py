"""A tenant moves into another jurisdiction with all that it holds, on a stand-in for jurisdictions."""

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections

from accounts.models import Tenant
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import emptying
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.states import MOVING, Operation
from do_bridge.tenancy.lifecycle.transfer import moved_rows, moving, switching
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import unique_slug
from tests.tenancy.cut_off import cut_off
from tests.tenancy.moves import EXPIRED, clear, move, places_with_tables, titles, write


@pytest.fixture
def slug(make_moved):
    """A tenant in no jurisdiction."""
    return make_moved()


def ask(slug, sql):
    alias = tenant_alias(slug)
    with unchecked(alias):
        return run_batch(connections[alias], [(sql, None)])[0].rows


def test_a_move_takes_everything_along_and_leaves_nothing_behind(slug, author):
    assert "rows moved, the tenant is in the jurisdiction eu" in move(slug, "eu", "--location", "weur")
    assert titles(slug) == ["Before"]
    assert connections[tenant_alias(slug)].connection.database.endswith(f"{slug}@eu")
    row = leases.look(slug)
    assert (row.jurisdiction, row.location, row.left_behind, row.operation) == ("eu", "weur", None, "")
    tenant = Tenant.objects.get(slug=slug)
    assert (tenant.jurisdiction, tenant.location) == ("eu", "weur")
    assert places_with_tables(slug) == ["eu"]
    write(slug, author, "After")
    assert "moved, the tenant is in no jurisdiction" in move(slug, "none")
    assert titles(slug) == ["After", "Before"]
    assert places_with_tables(slug) == [""]
    assert Tenant.objects.get(slug=slug).jurisdiction == "none"


def test_a_move_to_where_the_tenant_is_does_nothing(slug):
    before = leases.look(slug)
    assert "is in no jurisdiction already, nothing was done" in move(slug, "none")
    after = leases.look(slug)
    assert (after.state, after.jurisdiction, after.left_behind) == (before.state, "", None)
    assert titles(slug) == ["Before"]


def test_the_copy_is_the_object_itself(slug, author):
    ask(slug, "CREATE TABLE own (a PRIMARY KEY, b BLOB, c REAL) WITHOUT ROWID")
    ask(slug, "INSERT INTO own VALUES ('x', x'00ff', 5.0), ('%s', NULL, 1e300), ('ü', 7, 'text')")
    ask(slug, "CREATE INDEX own_b ON own (b) WHERE b IS NOT NULL")
    ask(slug, "CREATE VIEW seen AS SELECT a FROM own")
    ask(slug, "CREATE TRIGGER grows AFTER INSERT ON own BEGIN UPDATE own SET c = 1 WHERE a = NEW.a; END")
    ask(slug, "CREATE VIRTUAL TABLE found USING fts5(body)")
    ask(slug, "INSERT INTO found (rowid, body) VALUES (7, 'some words')")
    ask(slug, "UPDATE sqlite_sequence SET seq = 700 WHERE name = 'blog_post'")
    ask(slug, "UPDATE django_content_type SET model = 'its own' WHERE model = 'session'")
    ask(slug, "INSERT INTO _do_bridge_meta VALUES ('note', 'kept')")
    questions = (
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB '_*' ORDER BY name",
        "SELECT a, typeof(b), hex(b), typeof(c), c FROM own ORDER BY a",
        "SELECT rowid FROM found WHERE found MATCH 'words'",
        "SELECT name, seq FROM sqlite_sequence ORDER BY name",
        "SELECT id, model FROM django_content_type ORDER BY id",
        "SELECT key, value FROM _do_bridge_meta WHERE key <> 'fence' ORDER BY key",
        "SELECT id, title, created FROM blog_post",
    )
    before = [ask(slug, question) for question in questions]
    move(slug, "eu")
    assert [ask(slug, question) for question in questions] == before
    assert write(slug, author, "Next").pk == 701


def test_the_hint_goes_with_the_call_that_makes_the_new_object(slug, monkeypatch):
    from do_bridge.driver.transports.relay_session import RelaySession

    request, seen = RelaySession.request, []

    def note(self, message, deadline):
        if message.get("db", "").endswith(f"{slug}@eu"):
            seen.append(message.get("location"))
        return request(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", note)
    move(slug, "eu", "--location", "weur")
    assert seen[0] == "weur"


# Whom a move meets


def test_a_tenant_that_is_behind_moves_as_it_is_and_catches_up_afterwards(slug):
    ask(slug, "DELETE FROM django_migrations WHERE app = 'sessions'")
    ask(slug, "DROP TABLE django_session")
    ask(slug, "DELETE FROM _do_bridge_meta WHERE key = 'schema'")
    move(slug, "eu")
    assert places_with_tables(slug) == ["eu"]
    assert ask(slug, "SELECT count(*) FROM sqlite_master WHERE name = 'django_session'") == [(0,)]
    assert titles(slug) == ["Before"]
    assert ask(slug, "SELECT count(*) FROM sqlite_master WHERE name = 'django_session'") == [(1,)]


def test_a_tenant_that_was_never_used_gets_another_place_and_is_made_there(db, author):
    slug = unique_slug("m")
    Tenant.objects.create(slug=slug, name="By hand")
    move(slug, "eu")
    row = leases.look(slug)
    assert (row.state, row.jurisdiction, row.operation, row.left_behind) == ("unused", "eu", "", None)
    lookup.get(slug)
    assert titles(slug) == []
    assert places_with_tables(slug) == ["eu"]
    clear(slug)


def test_a_creation_that_did_not_reach_the_object_is_finished_by_the_move(db, author, monkeypatch):
    slug = unique_slug("m")
    from do_bridge.tenancy.lifecycle import creation

    first = creation.first_members([author])
    creation.write_row(creation.NewTenant(slug, "Cut off", [author]), first)
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    move(slug, "eu")
    lookup.get(slug)
    assert titles(slug) == []
    assert ask(slug, "SELECT count(*) FROM accounts_user WHERE is_active") == [(1,)]
    assert places_with_tables(slug) == ["eu"]
    clear(slug)


def test_a_deleted_tenant_can_not_be_moved(slug):
    call_command("tenant_delete", slug, "--yes", verbosity=0)
    with pytest.raises(CommandError, match="was not moved: Tenant .* does not exist. Check the slug"):
        move(slug, "eu")
    with pytest.raises(CommandError, match="does not exist. Check the slug"):
        move("nobody-has-this", "eu")
    with pytest.raises(CommandError, match="not a valid slug"):
        move("No Slug", "eu")


def test_a_tenant_that_is_being_filled_can_not_be_moved(slug):
    cut_off(slug, Operation.RESTORE)
    ask(slug, "UPDATE _do_bridge_meta SET value = '0 x' WHERE key = 'fence'")
    TenantState.objects.filter(slug=slug).update(owner="x")
    with pytest.raises(CommandError, match="was interrupted.*`manage.py tenant_load .* --replace` again"):
        move(slug, "eu")
    assert places_with_tables(slug) == [""]


# Failures before the switch


def fails(*arguments, **options):
    raise DatabaseError("The connection was lost")


@pytest.mark.parametrize("step", ["dump_connection", "check_file", "switch"])
def test_a_move_that_fails_leaves_the_tenant_as_it_was(slug, step, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(CommandError, match="The connection was lost"):
        patched.setattr(moving, step, fails)
        move(slug, "eu")
    row = leases.look(slug)
    assert (row.state, row.operation, row.jurisdiction, row.left_behind, row.error) == (
        "ready",
        "",
        "",
        None,
        "",
    )
    assert titles(slug) == ["Before"]
    assert places_with_tables(slug) == [""]
    move(slug, "eu")
    assert titles(slug) == ["Before"]


def test_rows_that_differ_stop_the_move(slug, monkeypatch):
    copy_keys = moved_rows.copy_keys

    def change(source, target):
        copy_keys(source, target)
        # As a program does that writes beside Django.
        source.execute("UPDATE blog_post SET title = 'Later'")

    monkeypatch.setattr(moved_rows, "copy_keys", change)
    with pytest.raises(CommandError, match=r"differ: blog_post \(rows: 1 and 1\).*stays where it was"):
        move(slug, "eu")
    assert titles(slug) == ["Later"]
    assert places_with_tables(slug) == [""]


def test_what_an_earlier_move_has_left_is_not_forgotten_if_it_can_not_be_erased(slug, monkeypatch):
    TenantState.objects.filter(slug=slug).update(left_behind="us")
    erase = emptying.erase_at

    def refuse(lease, jurisdiction):
        if jurisdiction == "us":
            raise DatabaseError("The relay does not serve this object")
        erase(lease, jurisdiction)

    with monkeypatch.context() as patched, pytest.raises(CommandError, match="does not serve this object"):
        patched.setattr(emptying, "erase_at", refuse)
        move(slug, "eu")
    assert leases.look(slug).left_behind == "us"
    assert titles(slug) == ["Before"]
    move(slug, "eu")
    assert leases.look(slug).left_behind is None


def test_a_relay_that_dies_midway_costs_no_more_than_the_lease(slug, monkeypatch):
    from do_bridge.driver.transports.relay_session import RelaySession

    def die(source, target):
        dead.setattr(RelaySession, "request", is_dead)

    def is_dead(self, message, deadline):
        raise driver_error("none")

    with monkeypatch.context() as dead:
        dead.setattr(moved_rows, "copy_keys", die)
        with pytest.raises(CommandError, match="was not moved: The answer was lost"):
            move(slug, "eu")
    assert leases.look(slug).left_behind == "eu"
    assert "eu" in places_with_tables(slug)
    # Nobody renews the lease any more.
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    assert titles(slug) == ["Before"]
    move(slug, "eu")
    assert titles(slug) == ["Before"]
    assert places_with_tables(slug) == ["eu"]


def test_a_move_that_is_interrupted_while_it_switches_thaws_nothing(slug, monkeypatch):
    def interrupt(connection, statements):
        run_batch(connection, statements)
        raise KeyboardInterrupt

    refused = pytest.raises(CommandError, match="Interrupted. Tenant .* is usable")
    with monkeypatch.context() as patched, refused:
        patched.setattr(switching, "run_batch", interrupt)
        move(slug, "eu")
    for jurisdiction in ("", "eu"):
        with connected(tenant_alias(slug), jurisdiction) as connection:
            sql = "SELECT value FROM _do_bridge_meta WHERE key = 'schema'"
            assert connection.execute(sql).fetchone() == (MOVING,)
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    assert titles(slug) == ["Before"]
    assert leases.look(slug).jurisdiction == "eu"


def test_a_switch_whose_answer_was_lost_is_carried_out_once(slug, monkeypatch):
    run, lost = switching.run_batch, []

    def lose(connection, statements):
        answer = run(connection, statements)
        if not lost:
            lost.append(answer)
            cause = driver_error("unknown")
            raise DatabaseError("The answer was lost") from cause
        return answer

    monkeypatch.setattr(switching, "run_batch", lose)
    move(slug, "eu")
    assert titles(slug) == ["Before"]
    assert places_with_tables(slug) == ["eu"]


def driver_error(effect):
    from do_bridge import driver

    return driver.OperationalError("The answer was lost", effect=effect)


def test_after_a_switch_without_an_answer_the_ledger_says_where_the_tenant_is(slug, monkeypatch):
    run = switching.run_batch

    def lose(connection, statements):
        run(connection, statements)
        raise DatabaseError("The answer was lost") from driver_error("unknown")

    with (
        monkeypatch.context() as patched,
        pytest.raises(CommandError, match="unknown whether D1 has switched the tenant"),
    ):
        patched.setattr(switching, "run_batch", lose)
        patched.setattr(leases, "look", fails_after(leases.look, 2))
        move(slug, "eu")
    assert leases.look(slug).jurisdiction == "eu"
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    assert titles(slug) == ["Before"]
    move(slug, "eu")
    assert places_with_tables(slug) == ["eu"]


def fails_after(function, times):
    left = [times]

    def run(*arguments):
        if not left[0]:
            raise DatabaseError("D1 does not answer")
        left[0] -= 1
        return function(*arguments)

    return run
