"""tenant_load and tenant_copy: a tenant made of a SQLite file, whole or not at all."""

import sqlite3
import tracemalloc
from contextlib import closing
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.backends.sqlite_file.units import MARK
from do_bridge.members import syncing
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.lease.leases import Held, LeaseLost
from do_bridge.tenancy.lifecycle.transfer import load
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.processes import finish, start

TABLES = [
    "CREATE TABLE kinds (id INTEGER PRIMARY KEY, v)",
    "INSERT INTO kinds (v) VALUES (9223372036854775807), (-9223372036854775808), (9007199254740993), (5.0), "
    "(1e17), (0.1), (9e999), (-9e999), ('5'), (''), (NULL), (x'00ff'), (x''), ('[1]'), ('it''s \"ü\" 🙂'), "
    "('line\nbreak\\'), (1), (2.5e-308)",
    "CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER NOT NULL REFERENCES tree (id), "
    "first INTEGER REFERENCES leaf (id))",
    "CREATE TABLE leaf (id INTEGER PRIMARY KEY, tree_id INTEGER NOT NULL REFERENCES tree (id))",
    "CREATE TABLE note (leaf_id INTEGER REFERENCES leaf (id), word TEXT, twice TEXT AS (word || word))",
    "INSERT INTO tree VALUES (1, 2, NULL), (2, 2, NULL)",
    "INSERT INTO leaf VALUES (1, 2)",
    "UPDATE tree SET first = 1",
    "INSERT INTO note (rowid, leaf_id, word) VALUES (9, 1, 'x')",
    "CREATE TABLE pairs (a TEXT, b, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "INSERT INTO pairs VALUES ('p', x'01'), ('p', 1), ('q', 1.5)",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n)",
    "INSERT INTO counted (id, n) VALUES (1, 1), (70, 2)",
    "DELETE FROM counted WHERE id = 70",
    f"CREATE TABLE wide (key TEXT PRIMARY KEY, {', '.join(f'c{n} TEXT' for n in range(99))})",
    f"INSERT INTO wide VALUES ('b'{', 1' * 99}), ('a'{', NULL' * 99})",
    "CREATE INDEX note_word ON note (word)",
    "CREATE VIEW words AS SELECT word FROM note",
    "CREATE TRIGGER noted AFTER INSERT ON note BEGIN INSERT INTO counted (n) VALUES (1); END",
]


@pytest.fixture
def other(db):
    """A slug without a tenant; whatever a test makes of it is emptied."""
    slug = unique_slug("other")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


@pytest.fixture
def dumped(acme, in_both, tmp_path):
    """The file of a tenant with a post, and with tables that Django would not make."""
    with tenant_context(acme):
        Post.objects.create(title="Über", content="x" * 900_000, user_id=in_both)
    connection = connections[tenant_alias(acme.slug)]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("PRAGMA defer_foreign_keys = on")
        for sql in TABLES:
            cursor.execute(sql)
    dump_tenant(acme.slug, tmp_path / "acme.sqlite3")
    return tmp_path / "acme.sqlite3"


def everything(path):
    with closing(sqlite3.connect(path)) as file:
        return sorted(line for line in file.iterdump() if "_do_bridge_meta" not in line)


def loaded(slug, path):
    out = StringIO()
    call_command("tenant_load", slug, path, stdout=out, stderr=out)
    return out.getvalue()


OWN_TABLES = (
    "SELECT name FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' "
    "AND name <> 'sqlite_sequence'"
)


def tables_of(slug):
    (result,) = run_batch(connections[tenant_alias(slug)], [(OWN_TABLES, None)])
    return {name for (name,) in result.rows}


def test_a_dump_of_what_was_loaded_is_the_same_dump(dumped, other, tmp_path):
    load.load_tenant(other, dumped)
    dump_tenant(other, tmp_path / "again.sqlite3")
    assert everything(tmp_path / "again.sqlite3") == everything(dumped)


def test_a_loaded_tenant_is_ready_for_the_orm(dumped, other, in_both):
    loaded(other, dumped)
    assert Tenant.objects.get(slug=other).name == other
    assert ledger.states([other])[other].state == ledger.READY
    with tenant_context(other):
        assert Post.objects.get().user.name == "Ada"
        Post.objects.create(title="More", content="-", user_id=in_both)
        assert Post.objects.count() == 2


def test_a_tenant_that_holds_something_is_refused_unharmed(dumped, zeta):
    before = tables_of(zeta.slug)
    with pytest.raises(CommandError, match="already has tables.*`manage.py tenant_delete"):
        loaded(zeta.slug, dumped)
    assert tables_of(zeta.slug) == before
    assert ledger.states([zeta.slug])[zeta.slug].operation != "load"


def test_a_load_that_fails_in_the_middle_leaves_nothing_and_the_ledger_says_so(dumped, other):
    seen = []

    def on_piece(table, rows):
        seen.append(table)
        if len(seen) == 3:
            raise DatabaseError("the line is cut")

    with pytest.raises(DatabaseError, match="the line is cut"):
        load.load_tenant(other, dumped, on_piece=on_piece)
    assert tables_of(other) == set()
    state = ledger.states([other])[other]
    assert (state.status, "the line is cut" in state.error) == ("load failed", True)
    assert not Tenant.objects.filter(slug=other).exists()


def test_while_it_is_loaded_a_tenant_has_no_row_no_fingerprint_and_a_lease(dumped, other):
    seen = []

    def on_piece(table, rows):
        (result,) = (
            run_batch(
                connections[tenant_alias(other)],
                [("SELECT count(*) FROM _do_bridge_meta WHERE key = 'schema'", None)],
            )
            if "_do_bridge_meta" in tables_of(other)
            else (None,)
        )
        fingerprints = 0 if result is None else result.rows[0][0]
        seen.append(
            (
                ledger.states([other])[other].operation,
                fingerprints,
                Tenant.objects.filter(slug=other).exists(),
            )
        )

    load.load_tenant(other, dumped, on_piece=on_piece)
    assert set(seen) == {("load", 0, False)}


def test_a_visitor_of_a_tenant_that_is_being_loaded_is_turned_away_and_spoils_nothing(dumped, other):
    Tenant.objects.create(slug=other, name="There before its rows")
    turned_away = []

    def on_piece(table, rows):
        try:
            Post.objects.using(tenant_alias(other)).count()
        except DatabaseError as error:
            turned_away.append(error)
        else:
            turned_away.append(None)
        connections[tenant_alias(other)].close()

    report = load.load_tenant(other, dumped, on_piece=on_piece)
    assert turned_away and all(turned_away)
    assert Post.objects.using(tenant_alias(other)).count() == 1
    dumped_again = dumped.with_name("again.sqlite3")
    # Besides the file's rows its fingerprint, and its fence.
    assert dump_tenant(other, dumped_again).rows == report.rows + 2
    assert ledger.states([other])[other].state == ledger.READY


def test_an_interrupted_load_is_gone_on_with_by_the_next(dumped, other):
    def cut(table, rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="Run the same command again"):
        load.load_tenant(other, dumped, on_piece=cut)
    assert MARK in tables_of(other)
    assert ledger.states([other])[other].status == "load failed"
    report = load.load_tenant(other, dumped)
    assert report.units_before == 2
    assert report.fingerprint == code_fingerprint()
    assert not {name for name in tables_of(other) if name.startswith(MARK)}


def test_neither_a_dump_nor_a_load_holds_the_tenant_in_memory(acme, other, tmp_path):
    statements = [("CREATE TABLE big (id INTEGER PRIMARY KEY, v)", None)]
    fill = "INSERT INTO big (v) SELECT randomblob(250000) FROM auth_permission LIMIT 20"
    run_batch(connections[tenant_alias(acme.slug)], statements + [(fill, None)] * 6)
    path = tmp_path / "big.sqlite3"
    peaks = []
    tracemalloc.start()
    try:
        for step in (lambda: dump_tenant(acme.slug, path), lambda: load.load_tenant(other, path)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 30_000_000
    assert max(peaks) < 12_000_000


def spoil(path, *statements):
    with closing(sqlite3.connect(path)) as file:
        for sql in statements:
            file.execute(sql)
        file.commit()


@pytest.fixture
def small(tmp_path):
    """A file that a tenant could be made of."""
    path = tmp_path / "small.sqlite3"
    spoil(
        path,
        "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT)",
        "CREATE TABLE leaf (id INTEGER PRIMARY KEY, word TEXT)",
        "CREATE TABLE note (leaf_id INTEGER REFERENCES leaf (id))",
    )
    return path


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DROP TABLE django_migrations"], "no table django_migrations"),
        (["INSERT INTO note (leaf_id) VALUES (77)"], "1 rows refer to missing rows.*note"),
        (["CREATE TABLE late (id INTEGER REFERENCES gone (id))"], "'late' has a foreign key to 'gone'"),
        (["CREATE VIRTUAL TABLE found USING fts5(body, content='')"], "'found' is a contentless FTS5"),
        ([f"CREATE TABLE wide ({', '.join(f'c{n}' for n in range(101))})"], "more than 100 columns"),
        ([f"CREATE TABLE {MARK} (n)"], "load had not finished"),
    ],
)
def test_a_file_that_no_tenant_can_be_made_of_is_refused_without_a_trip(small, trips, statements, told):
    spoil(small, *statements)
    with pytest.raises(load.UnfitFile, match=told):
        load.load_tenant("never-made", small)
    assert trips.count == 0


def test_a_file_that_is_no_database_or_damaged_is_refused_without_a_trip(small, tmp_path, trips):
    (tmp_path / "text").write_text("This is no database, however long it may be. " * 100)
    for path, told in ((tmp_path / "text", "not a SQLite database"), (tmp_path / "none", "does not exist")):
        with pytest.raises(load.UnfitFile, match=told):
            load.load_tenant("never-made", path)
    spoil(small, "INSERT INTO leaf (word) SELECT 'w' || value FROM json_each('[1, 2, 3, 4, 5, 6, 7, 8]')")
    content = bytearray(small.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    small.write_bytes(content)
    with pytest.raises(load.UnfitFile, match="damaged|not a SQLite"):
        load.load_tenant("never-made", small)
    assert trips.count == 0


def test_a_tenant_of_an_older_schema_is_loaded_and_said_to_need_migrating(dumped, other):
    spoil(dumped, "DELETE FROM django_migrations WHERE app = 'blog'")
    output = loaded(other, dumped)
    assert f"migrate --database tenant/{other}" in output
    assert ledger.behind([other]) == [other]
    # The people in it wait for the migration to be made inactive, and no longer.
    assert syncing.out_of_sync().get().slug == other


def test_a_copy_has_the_rows_and_the_members(acme, in_both, other, author):
    Membership.objects.create(user=author, tenant=acme, role="owner")
    with tenant_context(acme):
        Post.objects.create(title="Kept", content="-", user_id=in_both)
    call_command("tenant_copy", acme.slug, other, name="The other", verbosity=0)
    assert Tenant.objects.get(slug=other).name == "The other"
    assert Membership.objects.get(tenant__slug=other).role == "owner"
    with tenant_context(other):
        assert Post.objects.get().user.username == "ada"
        Post.objects.all().delete()
        assert User.objects.using(tenant_alias(other)).get().is_active
    with tenant_context(acme):
        assert Post.objects.count() == 1


def test_people_who_could_not_be_made_inactive_after_a_load_are_so_by_the_first_use(
    files, other, monkeypatch
):
    def unreachable(users, keys, alias):
        raise DatabaseError("the object cannot be reached")

    with monkeypatch.context() as patched:
        patched.setattr(syncing, "_write", unreachable)
        loaded(other, files[0])
    assert User.objects.using(tenant_alias(other)).get().is_active is True
    assert syncing.out_of_sync().get().slug == other
    lookup.get(other)
    assert User.objects.using(tenant_alias(other)).get().is_active is False
    assert not syncing.out_of_sync().exists()


def test_a_copy_onto_a_tenant_or_of_none_is_refused(acme, zeta):
    with pytest.raises(CommandError, match="delete the tables with"):
        call_command("tenant_copy", acme.slug, zeta.slug, verbosity=0)
    with pytest.raises(CommandError, match="does not exist"):
        call_command("tenant_copy", "nobody", "somebody", verbosity=0)
    with pytest.raises(CommandError, match="not a valid slug"):
        call_command("tenant_copy", acme.slug, "../x", verbosity=0)


def test_a_tenant_that_was_never_used_is_not_copied_and_its_dump_is_announced_as_empty(
    other, db, tmp_path, capsys
):
    source = unique_slug("never-used")
    Tenant.objects.create(slug=source, name="Never used")
    with pytest.raises(
        CommandError, match=f"has no tables. Run `manage.py migrate --database tenant/{source}`"
    ):
        call_command("tenant_copy", source, other, verbosity=0)
    assert not Tenant.objects.filter(slug=other).exists()
    call_command("tenant_dump", source, str(tmp_path / "empty.sqlite3"), verbosity=0)
    assert "has no tables, so the file has none" in capsys.readouterr().err


@pytest.fixture
def files(acme, zeta, in_both, tmp_path):
    """The files of two tenants of three posts each, under other keys and titles."""
    made = []
    for number, tenant in enumerate((acme, zeta), start=1):
        with tenant_context(tenant):
            for key in range(10 * number, 10 * number + 3):
                Post.objects.create(pk=key, title=tenant.slug, content="-", user_id=in_both)
        made.append(tmp_path / f"{tenant.slug}.sqlite3")
        dump_tenant(tenant.slug, made[-1])
    return made


def titles_of(slug):
    with tenant_context(slug):
        return [post.title for post in Post.objects.all()]


@pytest.mark.parametrize("table", ["django_content_type", "auth_permission", "accounts_user", "blog_post"])
def test_a_load_that_a_second_one_overtakes_stops_and_leaves_the_seconds_tenant_alone(
    files, zeta, other, table, no_renewals
):
    seen = []

    def on_piece(name, rows):
        if name == table and not seen:
            seen.append(finish(start("tenant_load", other, files[1])))

    with pytest.raises(LeaseLost, match="took over tenant"):
        load.load_tenant(other, files[0], on_piece=on_piece)
    assert [code for code, _ in seen] == [0], seen
    assert titles_of(other) == [zeta.slug] * 3
    assert ledger.states(other)[other].state == ledger.READY


def test_a_second_load_waits_for_the_first_and_is_refused(files, other, acme):
    begun = []

    def on_piece(name, rows):
        if not begun:
            begun.append(start("tenant_load", other, files[1]))

    load.load_tenant(other, files[0], on_piece=on_piece)
    code, output = finish(begun[0])
    assert code == 1 and "already has tables" in output
    assert titles_of(other) == [acme.slug] * 3


def test_a_second_load_that_waits_too_long_says_who_is_at_work(files, other, settings, monkeypatch):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.5}
    monkeypatch.setattr(leases, "MARGIN", 0.2)
    told = []

    def on_piece(name, rows):
        if not told:
            with pytest.raises(Held, match="another process runs 'load' on it") as caught:
                load.load_tenant(other, files[1])
            told.append(caught.value)

    load.load_tenant(other, files[0], on_piece=on_piece)
    assert told
    assert ledger.states(other)[other].state == ledger.READY


def test_a_load_leaves_a_tenant_alone_that_was_created_meanwhile(
    files, author, other, monkeypatch, no_renewals, settings
):
    def created(connection, schema):
        # The load stands still, and not who creates.
        settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 30}
        create_tenant(other, "New", [author])
        Post.objects.using(tenant_alias(other)).create(title="Mine", content="-", user_id=author.pk)

    # The lease is taken, and nothing was written yet.
    monkeypatch.setattr(load, "refuse_schema", created)
    with pytest.raises(DatabaseError, match="took over tenant|already exists"):
        load.load_tenant(other, files[0])
    assert titles_of(other) == ["Mine"]
    assert ledger.states(other)[other].state == ledger.READY
