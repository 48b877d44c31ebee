"""tenant_dump: a SQLite file that holds what the object holds."""

import sqlite3
import stat
from contextlib import closing
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.transfer import dump
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object

ODD_TABLES = [
    "CREATE TABLE kinds (id INTEGER PRIMARY KEY, v)",
    "INSERT INTO kinds (v) VALUES (9223372036854775807), (-9223372036854775808), (9007199254740993), (5.0), "
    "(1e17), (0.1), (9e999), ('5'), (''), (NULL), (x'00ff'), (x''), ('it''s — “ü” 🙂'), (1)",
    "CREATE TABLE pairs (a TEXT, b, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "INSERT INTO pairs SELECT 'k' || (value % 7), value, x'01' FROM generate_series(1, 900)",
    "CREATE TABLE bare (word TEXT, twice TEXT AS (word || word) STORED)",
    "INSERT INTO bare (rowid, word) VALUES (40, 'x'), (7, 'y'), (9007199254740995, 'z')",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n REAL)",
    "INSERT INTO counted (id, n) VALUES (50, 3), (90, 4)",
    "DELETE FROM counted WHERE id = 90",
    'CREATE TABLE "100% odd name" ("a%s b" TEXT)',
    "INSERT INTO \"100% odd name\" VALUES ('one'), ('two')",
    "CREATE TABLE d1_migrations_log (word TEXT)",
    "INSERT INTO d1_migrations_log VALUES ('ours')",
    "CREATE INDEX kinds_v ON kinds (v) WHERE v IS NOT NULL",
    "CREATE VIEW seen AS SELECT word FROM bare",
    "CREATE TRIGGER noted AFTER INSERT ON bare BEGIN INSERT INTO counted (n) VALUES (1); END",
]
SERIES = "WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < 900) "


@pytest.fixture
def odd(acme):
    """A tenant with tables that Django would not make."""
    statements = [
        sql.replace("INSERT INTO pairs SELECT", f"INSERT INTO pairs {SERIES} SELECT").replace(
            "generate_series(1, 900)", "s"
        )
        for sql in ODD_TABLES
    ]
    run_batch(connections[tenant_alias(acme.slug)], [(sql, None) for sql in statements])
    return acme


def contents(path):
    """Return {table: rows with their types} and {name: sql} of a SQLite file."""
    with closing(sqlite3.connect(path)) as file:
        names = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
        rows = {
            name: sorted(map(repr, file.execute(f"SELECT * FROM {table}").fetchall()))
            for name, table in quoted.items()
        }
        schema = dict(file.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return rows, schema


@pytest.fixture
def dumped(odd, tmp_path):
    path = tmp_path / "acme.sqlite3"
    report = dump_tenant(odd.slug, path, page_bytes=2000)
    assert report.consistent and report.dangling == 0
    return path


def test_every_value_has_the_type_that_it_had(dumped):
    with closing(sqlite3.connect(dumped)) as file:
        kinds = [value for (value,) in file.execute("SELECT v FROM kinds ORDER BY id")]
    wanted = [2**63 - 1, -(2**63), 2**53 + 1, 5.0, 1e17, 0.1, float("inf"), "5", "", None, b"\0\xff", b""]
    assert kinds == [*wanted, "it's — “ü” 🙂", 1]
    assert [type(kind) for kind in kinds[3:5]] == [float, float]
    assert type(kinds[-1]) is int


def test_tables_of_every_form_are_read_whole_over_many_pages(dumped):
    with closing(sqlite3.connect(dumped)) as file:
        assert file.execute("SELECT count(*), count(DISTINCT b), sum(b) FROM pairs").fetchone() == (
            900,
            900,
            405450,
        )
        assert file.execute("SELECT rowid, word, twice FROM bare ORDER BY rowid").fetchall() == [
            (7, "y", "yy"),
            (40, "x", "xx"),
            (9007199254740995, "z", "zz"),
        ]
        assert file.execute("SELECT word FROM d1_migrations_log").fetchall() == [("ours",)]
        assert file.execute('SELECT "a%s b" FROM "100% odd name" ORDER BY rowid').fetchall() == [
            ("one",),
            ("two",),
        ]


def test_indexes_views_triggers_and_counters_come_along(dumped):
    with closing(sqlite3.connect(dumped)) as file:
        made = dict(file.execute("SELECT name, type FROM sqlite_master"))
        assert (made["kinds_v"], made["seen"], made["noted"]) == ("index", "view", "trigger")
        assert file.execute("SELECT seq FROM sqlite_sequence WHERE name = 'counted'").fetchone() == (90,)
        assert file.execute("SELECT count(*) FROM counted").fetchone() == (1,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_the_orm_wrote_is_in_the_file_and_nothing_of_the_runtimes_own(odd, in_both, tmp_path):
    with tenant_context(odd):
        Post.objects.create(title="Über", content="Text", user_id=in_both)
    call_command("tenant_dump", odd.slug, tmp_path / "a.sqlite3", verbosity=0)
    rows, schema = contents(tmp_path / "a.sqlite3")
    assert "'Über'" in rows["blog_post"][0]
    assert len(rows["django_migrations"]) > 10
    assert not [name for name in schema if name.startswith(("_cf_", "__miniflare"))]


def test_the_file_is_its_owners_alone_and_never_written_over(odd, tmp_path):
    path = tmp_path / "a.sqlite3"
    out = StringIO()
    call_command("tenant_dump", odd.slug, path, stdout=out)
    assert f"rows of tenant {odd.slug}" in out.getvalue()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(CommandError, match="already exists"):
        call_command("tenant_dump", odd.slug, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.sqlite3"]


def test_a_file_that_somebody_makes_by_that_name_meanwhile_is_not_written_over(odd, tmp_path):
    path = tmp_path / "a.sqlite3"
    with pytest.raises(FileExistsError, match="already exists"):
        dump_tenant(odd.slug, path, on_page=lambda table, rows: path.write_text("theirs"))
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_where_the_file_system_has_no_links_the_file_appears_all_the_same(odd, tmp_path, monkeypatch):
    def refused(*paths):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(dump.os, "link", refused)
    dump_tenant(odd.slug, tmp_path / "a.sqlite3")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.sqlite3"]


def test_a_writer_waits_so_that_the_rows_are_those_of_one_moment(odd, tmp_path, local_worker):
    from threading import Thread

    writer, started = None, []

    def write():
        connection = connections[tenant_alias(odd.slug)]
        run_batch(connection, [("INSERT INTO pairs VALUES ('zz', 1, 'late')", None)])
        connection.close()

    def on_page(table, rows):
        nonlocal writer
        if not started:
            started.append(table)
            writer = Thread(target=write)
            writer.start()

    report = dump_tenant(odd.slug, tmp_path / "a.sqlite3", on_page=on_page)
    writer.join(30)
    assert report.consistent
    with closing(sqlite3.connect(tmp_path / "a.sqlite3")) as file:
        assert file.execute("SELECT count(*) FROM pairs WHERE a = 'zz'").fetchone() == (0,)
    (result,) = run_batch(connections[tenant_alias(odd.slug)], [("SELECT count(*) FROM pairs", None)])
    assert result.rows == [(901,)]


def outlast(monkeypatch):
    """Let a reader's transaction outlive its lease after the first page."""
    import threading

    original = dump.Reader._page

    def slow(self, *args):
        if self.connection.in_transaction:
            threading.Event().wait(0.4)
        return original(self, *args)

    monkeypatch.setattr(dump.Reader, "_page", slow)


def test_a_tenant_too_large_for_the_lease_is_read_whole_and_said_not_to_be_of_one_moment(
    odd, tmp_path, monkeypatch
):
    outlast(monkeypatch)
    errors = StringIO()
    path = tmp_path / "a.sqlite3"
    call_command("tenant_dump", odd.slug, path, lease=0.2, stdout=StringIO(), stderr=errors)
    assert "are from different moments" in errors.getvalue()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM pairs").fetchone() == (900,)


def test_a_strict_dump_leaves_no_file_where_the_lease_was_too_short(odd, tmp_path, monkeypatch):
    outlast(monkeypatch)
    with pytest.raises(CommandError, match="No file was written"):
        call_command("tenant_dump", odd.slug, tmp_path / "a.sqlite3", lease=0.2, strict=True)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_too_large_for_an_answer_is_cut(acme, tmp_path):
    big = "INSERT INTO big (v) SELECT randomblob(1000000) FROM auth_permission LIMIT 40"
    small = "INSERT INTO big (v) SELECT 1 FROM auth_permission"
    connection = connections[tenant_alias(acme.slug)]
    run_batch(
        connection, [("CREATE TABLE big (id INTEGER PRIMARY KEY, v)", None), (big, None), (small, None)]
    )
    report = dump_tenant(acme.slug, tmp_path / "a.sqlite3")
    assert report.consistent
    with closing(sqlite3.connect(tmp_path / "a.sqlite3")) as file:
        query = "SELECT count(*), min(length(v)) FROM big WHERE typeof(v) = 'blob'"
        (blobs, length) = file.execute(query).fetchone()
    assert blobs >= 20 and length == 1_000_000


def test_a_tenant_that_is_not_there_has_no_dump(db, tmp_path):
    for slug in ("nobody", "../acme", "ACME"):
        with pytest.raises(CommandError, match="[Tt]enant"):
            call_command("tenant_dump", slug, tmp_path / "a.sqlite3")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_was_emptied_is_written_as_an_empty_file(acme, tmp_path):
    empty_object(tenant_alias(acme.slug))
    dump_tenant(acme.slug, tmp_path / "empty.sqlite3")
    with closing(sqlite3.connect(tmp_path / "empty.sqlite3")) as file:
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == []
