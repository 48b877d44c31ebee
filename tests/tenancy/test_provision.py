"""What a new tenant's object is made of, and whose it may be: provisioning by one batch."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.utils import timezone

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.members.models import DirtyFlag
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import creation, ledger
from do_bridge.tenancy.lifecycle.creation import NewTenant, create_tenant, first_members, write_row
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import (
    ObjectTaken,
    dump_database,
    fingerprint_once,
    provision,
    scratch_dump,
)
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.lost_rows import lose_row
from tests.tenancy.newer_code import newer_code

ODD = """migrations.RunSQL([
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n REAL)",
    "INSERT INTO counted (id, n) VALUES (5, 1.0), (90, 2.0)",
    "DELETE FROM counted WHERE id = 90",
    "CREATE TABLE pairs (a TEXT, b, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "INSERT INTO pairs VALUES ('x', 1), ('y', x'00')",
    "CREATE TABLE doubled (word TEXT, twice TEXT AS (word || word) STORED)",
    "INSERT INTO doubled (rowid, word) VALUES (7, 'x')",
    "CREATE TRIGGER noted AFTER INSERT ON doubled BEGIN INSERT INTO counted (n) VALUES (3.0); END",
    "CREATE VIEW words AS SELECT word FROM doubled",
    "CREATE VIRTUAL TABLE search USING fts5(word, content='doubled')",
    "INSERT INTO search (search) VALUES ('rebuild')",
    "CREATE VIRTUAL TABLE own USING fts5(body)",
    "INSERT INTO own (rowid, body) VALUES (4, 'red fox')",
])"""
CONTENTLESS = "migrations.RunSQL([\"CREATE VIRTUAL TABLE bare USING fts5(body, content='')\"])"


@pytest.fixture
def new(db):
    """A slug that nobody has; its object is emptied afterwards."""
    slug = unique_slug("new")
    yield slug
    empty_object(tenant_alias(slug))


@pytest.fixture
def newer(tmp_path):
    """Makes the code newer by operations; the scratch object of that code is emptied afterwards."""
    made = []

    def make(*operations):
        context = newer_code(tmp_path, *operations)
        context.__enter__()
        made.append((context, tenant_databases().scratch_alias(fingerprint_once())))

    yield make
    for context, scratch in made:
        empty_object(scratch)
        context.__exit__(None, None, None)


def ask(slug, *statements):
    alias = tenant_alias(slug)
    with unchecked(alias):
        return [result.rows for result in run_batch(connections[alias], [(sql, None) for sql in statements])]


def test_rows_counters_triggers_and_indexes_of_every_form_come_along(new, newer):
    newer(ODD)
    assert provision(new) == "provisioned"
    assert ask(
        new,
        "SELECT id, n FROM counted",
        "SELECT seq FROM sqlite_sequence WHERE name = 'counted'",
        "SELECT a, b FROM pairs ORDER BY a",
        "SELECT rowid, word, twice FROM doubled",
        "SELECT word FROM words",
        "SELECT rowid FROM search WHERE search MATCH 'x'",
        "SELECT rowid FROM own WHERE own MATCH 'fox'",
    ) == [[(5, 1)], [(90,)], [("x", 1), ("y", b"\0")], [(7, "x", "xx")], [("x",)], [(7,)], [(4,)]]
    ask(new, "INSERT INTO doubled (word) VALUES ('z')")
    assert ask(new, "SELECT id, n FROM counted ORDER BY id") == [[(5, 1), (91, 3)]]


def test_where_the_scratch_object_cannot_be_read_tenants_are_migrated(new, newer):
    newer(CONTENTLESS)
    assert scratch_dump() is None
    _, created, how = create_tenant(new)
    assert (created, how) == (True, "migrated")
    assert ledger.is_at(ledger.states(new)[new], code_fingerprint())


def test_the_migrations_of_a_new_tenant_have_its_own_time(new):
    scratch_dump()
    before = timezone.now().replace(tzinfo=None).isoformat(" ")
    provision(new)
    (oldest,) = ask(new, "SELECT min(applied) FROM django_migrations")[0]
    assert oldest[0] >= before


# Whose the object is


def former(tenant, key):
    """Leave a tenant's object behind with a post, as a backup of D1 that lacks its row."""
    ledger.reached(tenant.slug, code_fingerprint())
    with tenant_context(tenant):
        Post.objects.create(title="of before", content="-", user_id=key)
    lose_row(tenant.slug)


def create_from_file(folder, *lines):
    out = StringIO()
    (folder / "tenants.csv").write_text("\n".join(lines), encoding="utf-8")
    call_command("create_tenants", str(folder / "tenants.csv"), stdout=out, stderr=out)
    return out.getvalue()


def test_creating_many_refuses_a_slug_whose_object_has_old_data_and_makes_the_others(
    acme, in_both, new, tmp_path
):
    former(acme, in_both)
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {acme.slug}"):
        create_from_file(tmp_path, acme.slug, new)
    assert list(Tenant.objects.filter(slug__in=[acme.slug, new]).values_list("slug", flat=True)) == [new]
    with pytest.raises(ObjectTaken, match=f"create_tenant --adopt {acme.slug}"):
        create_tenant(acme.slug)
    assert ask(acme.slug, "SELECT title FROM blog_post") == [[("of before",)]]
    create_tenant(acme.slug, adopt=True)
    assert Post.objects.using(tenant_alias(acme.slug)).get().title == "of before"


def test_a_creation_that_was_cut_off_before_the_directory_knew_goes_on(new, author, tmp_path):
    write_row(NewTenant(new, "New", [author]), first_members([author]))
    expire(new)
    assert "0 failed: 0 made, 1 were there already" in create_from_file(tmp_path, f"{new},New,ada")
    assert Tenant.objects.get(slug=new).name == "New"
    assert ledger.states(new)[new].status == "Ready"
    assert User.objects.using(tenant_alias(new)).get().username == "ada"


def test_a_creation_that_was_cut_off_is_finished_by_the_first_use_with_its_members(new, author):
    write_row(NewTenant(new, "New", [author]), first_members([author]))
    expire(new)
    assert lookup.get(new).name == "New"
    assert not Post.objects.using(tenant_alias(new)).exists()
    assert ledger.states(new)[new].operation == ""
    assert User.objects.using(tenant_alias(new)).get().username == "ada"
    assert not DirtyFlag.objects.exists()


@pytest.mark.parametrize(
    "arguments", [["--database", "tenant/{}"], ["--database", "tenant", "--tenant", "{}"]]
)
def test_a_creation_that_was_cut_off_is_finished_by_a_migration_with_its_members(new, author, arguments):
    write_row(NewTenant(new, "New", [author]), first_members([author]))
    expire(new)
    words = [word.format(new) for word in arguments]
    call_command("migrate", "sessions", "zero", *words, "--noinput", stdout=StringIO())
    assert User.objects.using(tenant_alias(new)).get().username == "ada"
    assert not DirtyFlag.objects.exists()


def test_a_creation_that_came_to_its_end_is_noted_by_the_first_look_up(new, author, trips):
    create_tenant(new, "New", [author])
    assert ledger.states(new)[new].operation == "create"
    for counted in (3, 1):
        before = trips.count
        lookup.forget()
        assert lookup.get(new).name == "New"
        assert trips.count - before == counted
    assert ledger.states(new)[new].operation == ""


def test_a_creation_that_fails_leaves_no_row(new, author, monkeypatch):
    def broken(*args):
        raise DatabaseError("the object cannot be reached")

    monkeypatch.setattr(creation, "_fill", broken)
    with pytest.raises(DatabaseError, match="cannot be reached"):
        create_tenant(new, "New", [author])
    assert not Tenant.objects.filter(slug=new).exists()
    assert not Membership.objects.exists()
    monkeypatch.undo()
    assert create_tenant(new, "New", [author])[1:] == (True, "provisioned")


def expire(slug):
    """Let a lease end now."""
    ledger.all_states().filter(slug=slug).update(expires=timezone.now() - timedelta(days=1))


def test_a_creation_that_came_to_its_end_is_no_unfinished_one(new, author):
    create_tenant(new, "New", [author])
    lose_row(new)
    with pytest.raises(ObjectTaken):
        create_tenant(new, "New", [author])
    call_command("create_tenant", new, "--adopt", "--name", "New", stdout=StringIO())
    call_command("tenant_delete", new, "--yes", stdout=StringIO())
    assert create_tenant(new, "New", [author])[1:] == (True, "provisioned")


def test_a_table_of_a_hundred_columns_without_a_rowid_of_its_own_is_provisioned(acme):
    connection = connections[tenant_alias(acme.slug)]
    columns = ", ".join(f"c{number} TEXT" for number in range(99))
    sql = [
        f"CREATE TABLE wide (code TEXT PRIMARY KEY, {columns})",
        "INSERT INTO wide (code) VALUES ('b'), ('a')",
    ]
    run_batch(connection, [(statement, None) for statement in sql])
    rows = {table: rows for table, _, rows in dump_database(connection).rows}
    assert [row[0] for row in rows["wide"]] == ["b", "a"]
