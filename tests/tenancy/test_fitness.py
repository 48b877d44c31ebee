"""What tenant_load refuses, leaves out and takes: by its name, before any row travels."""

import sqlite3
from contextlib import closing
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections

from accounts.models import Tenant
from do_bridge.backends.sqlite_file import schema
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.transfer import load
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object, unique_slug

KEY = "a INTEGER REFERENCES leaf (id)"
TABLES = (
    "SELECT name FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' "
    "AND name NOT IN ('sqlite_sequence', '_do_bridge_keys')"
)


@pytest.fixture
def other(db):
    """A slug without a tenant; whatever a test makes of it is emptied."""
    slug = unique_slug("fit")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


@pytest.fixture
def small(tmp_path):
    """A file that a tenant could be made of."""
    path = tmp_path / "small.sqlite3"
    change(
        path,
        "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT)",
        "CREATE TABLE leaf (id INTEGER PRIMARY KEY, word TEXT)",
        "INSERT INTO leaf (word) VALUES ('one'), ('two')",
    )
    return path


@pytest.fixture
def dumped(acme, tmp_path):
    """The file of a tenant, with one more table."""
    path = tmp_path / "acme.sqlite3"
    dump_tenant(acme.slug, path)
    change(path, "CREATE TABLE leaf (id INTEGER PRIMARY KEY, word TEXT)")
    change(path, "INSERT INTO leaf (word) VALUES ('one'), ('two')")
    return path


def change(path, *statements, functions=()):
    with closing(sqlite3.connect(path)) as file:
        for name in functions:
            file.create_function(name, -1, lambda *args: 1, deterministic=True)
        file.create_collation("odd", lambda a, b: (a > b) - (a < b))
        for sql in statements:
            file.execute(sql)
        file.commit()


def loaded(slug, path):
    out = StringIO()
    call_command("tenant_load", slug, path, stdout=out, stderr=out)
    return out.getvalue()


def is_empty(slug):
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [(TABLES, None)])
    return result.rows == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE q (a TEXT DEFAULT 'initially deferred')",
        "CREATE TABLE q (a TEXT DEFAULT 'DEFERRABLE INITIALLY DEFERRED')",
        "CREATE TABLE q (a TEXT CHECK (a <> 'deferrable initially deferred'))",
        "CREATE TABLE q (a /* deferrable initially deferred */ TEXT) -- DEFERRABLE INITIALLY DEFERRED",
        'CREATE TABLE q ("deferrable initially deferred" TEXT)',
        "CREATE TABLE q ([deferrable initially deferred] TEXT, `initially deferred` TEXT)",
        "CREATE TABLE 'initially deferred' (a TEXT)",
        "CREATE TABLE q (initially deferred, initially_deferred TEXT)",
        f"CREATE TABLE q ({KEY} DEFERRABLE INITIALLY IMMEDIATE)",
        f"CREATE TABLE q ({KEY} DEFERRABLE)",
        f"CREATE TABLE q ({KEY} NOT DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE q (a TEXT DEFAULT 'USING', b TEXT DEFAULT 'USING fts5(')",
        "CREATE VIEW q AS SELECT 'INITIALLY DEFERRED' AS a FROM leaf",
        "CREATE INDEX q ON leaf (word) WHERE word <> 'initially deferred'",
        "CREATE TRIGGER q AFTER DELETE ON leaf BEGIN SELECT 'deferrable initially deferred'; END",
        "CREATE VIRTUAL TABLE q USING fts5(body, tokenize = 'porter unicode61')",
        'CREATE VIRTUAL TABLE "USING x" USING/* USING y */fts5("using")',
    ],
)
def test_a_word_in_a_text_a_comment_or_a_name_is_not_taken_for_a_clause(dumped, other, sql):
    change(dumped, sql)
    assert "rows loaded" in loaded(other, dumped)
    again = dumped.with_name("again.sqlite3")
    dump_tenant(other, again)
    for path in (dumped, again):
        with closing(sqlite3.connect(path)) as file:
            texts = [row[0] for row in file.execute("SELECT sql FROM sqlite_master")]
        assert sql.partition(" --")[0] in texts


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE TABLE q ({KEY} DEFERRABLE INITIALLY DEFERRED)",
        f"CREATE TABLE q ({KEY}\tdeferrable /* x */ initially\n-- y\n deferred)",
        "CREATE TABLE q (a, FOREIGN KEY (a) REFERENCES leaf ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        f"CREATE TABLE q (b TEXT DEFAULT 'NOT', {KEY} DEFERRABLE INITIALLY DEFERRED)",
    ],
)
def test_a_deferred_key_is_loaded_as_an_immediate_one(dumped, other, sql):
    change(dumped, sql, "INSERT INTO q (a) VALUES (1)")
    assert "rows loaded" in loaded(other, dumped)
    alias = tenant_alias(other)
    (result,) = run_batch(connections[alias], [("SELECT sql FROM sqlite_master WHERE name = 'q'", None)])
    assert schema.deferred_clauses(result.rows[0][0]) == []
    assert loaded_rows(other, "q") == 1
    # At once, and not by a reset of the whole object.
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO q (a) VALUES (99)")


def test_the_places_of_deferred_clauses_are_found():
    sql = f"CREATE TABLE q ({KEY} DEFERRABLE INITIALLY DEFERRED, b TEXT)"
    ((start, end),) = schema.deferred_clauses(sql)
    assert sql[start:end] == "DEFERRABLE INITIALLY DEFERRED"


def test_tables_with_the_platforms_names_are_left_out_and_named(dumped, other):
    change(
        dumped,
        "CREATE TABLE d1_migrations (id INTEGER)",
        "INSERT INTO d1_migrations VALUES (1)",
        "CREATE TABLE _cf_x (id INTEGER)",
        "CREATE INDEX _cf_x_id ON _cf_x (id)",
        "CREATE TABLE __miniflare_x (id INTEGER)",
    )
    said = loaded(other, dumped)
    assert "Left out: d1_migrations, _cf_x, __miniflare_x." in said
    assert "Rename the tables" in said
    assert loaded_rows(other, "leaf") == 2


def loaded_rows(slug, table):
    (result,) = run_batch(connections[tenant_alias(slug)], [(f"SELECT count(*) FROM {table}", None)])
    return result.rows[0][0]


def test_a_load_that_leaves_nothing_out_says_nothing_of_it(dumped, other):
    assert "Left out" not in loaded(other, dumped)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ["CREATE VIEW broken AS SELECT * FROM gone"],
            "The view 'broken' can't be read: no such table: .*gone",
        ),
        (
            ["CREATE VIEW broken AS SELECT missing FROM leaf"],
            "The view 'broken' can't be read: no such column: missing",
        ),
        (
            ["CREATE VIEW broken AS SELECT regexp('a', word) FROM leaf"],
            "The view 'broken' .* no such function",
        ),
        (
            ["CREATE VIEW first AS SELECT * FROM gone", "CREATE VIEW second AS SELECT * FROM first"],
            "The view 'first' can't be read",
        ),
        (
            ["CREATE VIEW x AS SELECT word FROM d1_migrations", "CREATE VIEW y AS SELECT 1"],
            "The view 'x' can't be read: no such table",
        ),
        (
            ["CREATE TABLE odd (a TEXT CHECK (regexp('a', a)))", "INSERT INTO odd VALUES ('a')"],
            "The table 'odd' can't be created again: no such function: regexp",
        ),
        (
            ["CREATE TABLE strange (a TEXT COLLATE odd UNIQUE)", "INSERT INTO strange VALUES ('a'), ('b')"],
            "'strange' needs something that SQLite does not have: no such collation sequence: odd",
        ),
        (
            ["CREATE TABLE large (a TEXT, b BLOB)", "INSERT INTO large VALUES ('x', zeroblob(2000001))"],
            r"large\.b has a value of 2,000,001 bytes",
        ),
        (
            [f"CREATE VIEW wide AS SELECT {', '.join(f'1 AS c{n}' for n in range(101))}"],
            "The view 'wide' has more than 100 columns",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name_without_a_trip(small, trips, statements, told):
    change(small, *statements, functions=["regexp"])
    with pytest.raises(load.UnfitFile, match=told):
        load.load_tenant("never-made", small)
    assert trips.count == 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "CREATE VIEW version AS SELECT sqlite_version() AS a",
            "Cloudflare does not accept the view 'version': ",
        ),
        (
            "CREATE TABLE versions (a TEXT CHECK (a <> sqlite_version()))",
            "Cloudflare does not accept the table 'versions': ",
        ),
    ],
)
def test_what_only_the_object_refuses_is_named_before_rows_travel(dumped, other, statement, told):
    change(dumped, statement)
    pieces = []
    with pytest.raises(load.UnfitFile, match=told):
        load.load_tenant(other, dumped, on_piece=lambda table, rows: pieces.append(table))
    assert pieces == []
    assert is_empty(other)
    assert ledger.states([other])[other].status == "Deleted"
    with pytest.raises(CommandError, match=told):
        loaded(other, dumped)
    assert not Tenant.objects.filter(slug=other).exists()


def test_a_file_without_content_types_is_refused_by_that(small, trips):
    with pytest.raises(load.UnfitFile, match="no table django_content_type"):
        load.load_tenant("never-made", small)
    assert trips.count == 0


def test_an_error_of_rows_on_their_way_names_the_table(dumped, other):
    change(
        dumped,
        "CREATE TABLE texts (a TEXT)",
        "INSERT INTO texts VALUES (CAST(x'ff' AS TEXT))",
    )
    with pytest.raises(load.UnfitFile, match="The table 'texts' can't be read: Could not decode"):
        load.load_tenant(other, dumped)
    assert is_empty(other)


def test_a_row_that_the_object_refuses_is_named_with_its_table(dumped, other):
    change(dumped, "CREATE TABLE picky (a TEXT CHECK (length(a) < 3))", "INSERT INTO picky VALUES ('ab')")
    with closing(sqlite3.connect(dumped)) as file:
        file.execute("PRAGMA ignore_check_constraints = on")
        file.execute("CREATE TABLE stamped (a TEXT CHECK (a < '2000' OR unixepoch(a) IS NULL))")
        file.commit()
    assert "rows loaded" in loaded(other, dumped)
    alias = tenant_alias(other)
    with pytest.raises(IntegrityError, match="CHECK"), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO picky VALUES ('abc')")


def test_a_tenant_with_a_broken_view_can_be_dumped(other, dumped, tmp_path):
    loaded(other, dumped)
    run_batch(connections[tenant_alias(other)], [("CREATE VIEW broken AS SELECT * FROM gone", None)])
    report = dump_tenant(other, tmp_path / "broken.sqlite3")
    assert report.rows >= 2
    with pytest.raises(load.UnfitFile, match="The view 'broken'"):
        load.load_tenant("never-made", tmp_path / "broken.sqlite3")
