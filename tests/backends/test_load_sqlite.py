"""load_sqlite: D1, or one Durable Object, filled from the file of a site, whole or not usable."""

import json
import re
import sqlite3
from contextlib import closing
from io import StringIO
from types import SimpleNamespace

import pytest
import site_file
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connections
from engine_aliases import alias_for

from do_bridge.backends.remote_sqlite.refusals import Overtaken
from do_bridge.backends.sqlite_file import filling, loading, opening, schema
from do_bridge.backends.sqlite_file import rows as file_rows
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.backends.sqlite_file.loading import NotEmpty, load_database
from do_bridge.backends.sqlite_file.units import MARK
from do_bridge.driver.transports.relay_session import RelaySession

ENGINES_BY_DAY = ("d1", "durable_object")

HELD = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' "
    "AND name NOT GLOB '__mini*' AND name NOT GLOB 'sqlite_*' AND name <> '_do_bridge_keys'"
)


@pytest.fixture
def site(tmp_path):
    """The file of a small site."""
    return site_file.write(tmp_path / "db.sqlite3")


@pytest.fixture
def large(tmp_path, monkeypatch):
    """The file of a site that takes several units of rows, which are made small."""
    monkeypatch.setattr(file_rows, "LIST_BYTES", 40_000)
    return site_file.write(tmp_path / "large.sqlite3", count=120, size=700)


@pytest.fixture
def inserts(monkeypatch):
    """The requests so far that insert rows into a product's or a staging table."""
    seen, send = [], RelaySession.request

    def request(self, message, deadline):
        text = json.dumps(message)
        if "INSERT INTO" in text and "json_each" in text and "CREATE TABLE" not in text:
            seen.append(text)
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return seen


def execute(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def names(connection):
    return {name for (name,) in execute(connection, HELD)}


def command(*arguments, **options):
    out = StringIO()
    call_command("load_sqlite", *map(str, arguments), stdout=out, stderr=out, no_color=True, **options)
    return out.getvalue()


def comparable(rows, engine):
    # D1 gives infinities as NULL, whatever it holds.
    if engine.vendor and "d1" in engine.settings_dict["ENGINE"]:
        return [tuple(None if value == float("inf") else value for value in row) for row in rows]
    return rows


def assert_same(connection, path):
    assert names(connection) == set(site_file.tables(path))
    for table, rows in site_file.content(path).items():
        # As SQLite gives them: a decimal column is not Django's to convert here.
        found = site_file.rows(lambda sql: [tuple(row) for row in execute(connection, sql)], table)
        assert found == comparable(rows, connection), table


def test_every_row_is_there_with_its_type_and_its_keys_are_immediate(engine, site):
    told = command(site, "--database", engine.alias)
    assert_same(engine, site)
    tables = execute(engine, "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL")
    assert not any(schema.deferred_clauses(sql) for (sql,) in tables if "_cf_" not in sql)
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        engine.cursor().execute("INSERT INTO shop_line (order_id, note) VALUES (77, '-')")
    assert execute(engine, "SELECT seq FROM sqlite_sequence WHERE name = 'shop_order'") == [(90,)]
    made = "SELECT name FROM sqlite_master WHERE type IN ('index', 'view', 'trigger') AND sql IS NOT NULL"
    assert {name for (name,) in execute(engine, made)} >= {
        "applied_app", "noted", "shop_product_sold", "shop_sold", "shop_tags_once",
    }  # fmt: skip
    assert re.search(r"^  shop_product +40$", told, re.MULTILINE)
    assert "rows loaded. Each table has the same number" in told
    assert f"Now run: manage.py migrate --database {engine.alias}" in told


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(engine, site):
    told = command(site, "--database", engine.alias, "--dry-run")
    assert "9 tables" in told and "would be loaded. Nothing was written" in told
    assert names(engine) == set()


def test_a_database_that_holds_anything_is_refused_before_anything_is_written(engine, site, inserts):
    engine.cursor().execute("CREATE TABLE mine (id INTEGER)")
    with pytest.raises(CommandError, match=r"already has 1 tables \(mine\).*before the first `migrate`"):
        command(site, "--database", engine.alias)
    with pytest.raises(CommandError, match=r"already has 1 tables \(mine\)"):
        command(site, "--database", engine.alias, "--restart")
    assert names(engine) == {"mine"}
    assert inserts == []


def test_ctrl_c_ends_the_command_with_what_to_do(engine, large, monkeypatch):
    def stop(self, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(filling.Filling, "_compare", stop)
        with pytest.raises(CommandError, match="Interrupted.*the same command") as caught:
            command(large, "--database", engine.alias)
    assert caught.value.returncode == 130
    assert "of an interrupted load" in command(large, "--database", engine.alias)


class Stop(KeyboardInterrupt):
    """Ends a load as Ctrl-C does."""


def interrupted(alias, path, at):
    """Load, and stop after unit number `at` of rows."""
    seen = []

    def on_piece(table, rows):
        seen.append(table)
        if len(seen) == at:
            raise Stop

    with pytest.raises(Stop, match="Run the same command again"):
        load_database(alias, path, on_piece=on_piece)


@pytest.mark.parametrize("at", [1, 2, 4, 6])
def test_an_interrupted_load_goes_on_and_sends_nothing_twice(engine, large, inserts, at):
    interrupted(engine.alias, large, at)
    held = names(engine)
    assert MARK in held and "django_migrations" not in held
    sent = len(inserts)
    report = load_database(engine.alias, large)
    # The first made the tables; another moved the rows of tables in circles.
    assert report.units_before == at + 1 + (at > 5)
    assert_same(engine, large)
    assert len(inserts) == len(set(inserts)) > sent


def test_every_unit_of_rows_is_within_what_a_request_may_have(engine, tmp_path, inserts):
    path = site_file.write(tmp_path / "wide.sqlite3", count=900, size=1300)
    load_database(engine.alias, path)
    assert len(inserts) > 3
    # A value may have 2 MB, and a quoted text takes more on the wire.
    assert max(len(json.loads(text.encode()).__repr__().encode()) for text in inserts) < 2_500_000
    assert_same(engine, path)


def test_a_text_of_wide_characters_makes_no_value_beyond_the_limit(d1, tmp_path, monkeypatch):
    path = site_file.write(
        tmp_path / "wide.sqlite3",
        "INSERT INTO gone_app SELECT 'w' || value, replace(printf('%.*c', 90000, '-'), '-', '🙂') "
        "FROM json_each('[1, 2, 3, 4, 5, 6, 7, 8, 9]')",
    )
    largest, insert = [], filling.insert

    def measured(into, rows):
        sql, params = insert(into, rows)
        largest.extend(len(value.encode()) for value in params if isinstance(value, str))
        return sql, params

    monkeypatch.setattr(filling, "insert", measured)
    load_database(d1.alias, path)
    assert max(largest) < 2_000_000
    assert_same(d1, path)


def test_another_file_than_the_interrupted_one_is_refused_until_one_says_so(engine, large, site, inserts):
    interrupted(engine.alias, large, 2)
    before = len(inserts)
    for options in ((), ("--dry-run",)):
        with pytest.raises(CommandError, match="part of another file.*--restart"):
            command(site, "--database", engine.alias, *options)
    assert len(inserts) == before
    assert MARK in names(engine)
    command(site, "--database", engine.alias, "--restart")
    assert_same(engine, site)


def test_a_file_that_changed_since_is_another_one(engine, large):
    interrupted(engine.alias, large, 2)
    with closing(sqlite3.connect(large)) as file:
        file.execute("INSERT INTO gone_app VALUES ('c', 'new')")
        file.commit()
    with pytest.raises(NotEmpty, match="before it was changed"):
        load_database(engine.alias, large)


def test_of_two_loads_at_once_the_second_goes_on_and_the_first_stops(engine, large, inserts):
    seen = []

    def on_piece(table, rows):
        if not seen:
            seen.append(load_database(engine.alias, large))

    with pytest.raises(Overtaken, match="Another load"):
        load_database(engine.alias, large, on_piece=on_piece)
    assert seen[0].units_before == 2
    assert_same(engine, large)


def test_of_two_that_begin_at_once_one_stops_and_spoils_nothing(engine, site, monkeypatch):
    refuse = loading.refuse_schema

    def first(connection, found):
        monkeypatch.setattr(loading, "refuse_schema", refuse)
        load_database(engine.alias, site)

    monkeypatch.setattr(loading, "refuse_schema", first)
    with pytest.raises(Overtaken, match="Another load"):
        load_database(engine.alias, site)
    assert_same(engine, site)


def test_a_row_that_the_database_refuses_leaves_nothing(engine, tmp_path, monkeypatch):
    path = site_file.write(tmp_path / "db.sqlite3")
    monkeypatch.setattr(
        filling.Filling, "_compare", lambda *args: (_ for _ in ()).throw(filling.CountsDiffer("x"))
    )
    with pytest.raises(CommandError, match="was not loaded: x"):
        command(path, "--database", engine.alias)
    assert names(engine) == set()


def test_a_table_that_has_lost_a_row_on_the_way_is_named(engine, site):
    def on_piece(table, rows):
        if table == "shop_product_tags":
            engine.cursor().execute("DELETE FROM gone_app WHERE key = 'b'")

    with pytest.raises(filling.CountsDiffer, match="gone_app 1 instead of 2"):
        load_database(engine.alias, site, on_piece=on_piece)
    assert names(engine) == set()


def test_migrate_refuses_a_database_that_is_not_whole(engine, site):
    interrupted(engine.alias, site, 1)
    with pytest.raises(CommandError, match="is incomplete, because load_sqlite was interrupted"):
        call_command("migrate", database=engine.alias, verbosity=0)


@pytest.fixture
def proxied_engine(request, proxy, local_worker, django_db_blocker):
    """Makes the aliases of an engine whose statements go through the proxy."""
    worker = SimpleNamespace(url=proxy.url, token=local_worker.token, api_base="")
    with django_db_blocker.unblock(), alias_for(request.param, worker) as connection:
        yield connection
        proxy.release()


@pytest.mark.parametrize("proxied_engine", ["d1", "durable_object"], indirect=True)
@pytest.mark.parametrize(
    "text", ["CREATE TABLE", "CREATE TABLE _do_bridge_load ", "json_each", "DROP TABLE _do_bridge_load"]
)
def test_a_unit_whose_answer_is_lost_is_there_once(proxied_engine, proxy, large, monkeypatch, text):
    send, lost = RelaySession.request, []

    def request(self, message, deadline):
        if text in json.dumps(message) and not lost:
            lost.append(text)
            proxy.lose_answers = 1
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    load_database(proxied_engine.alias, large)
    assert lost and proxy.lost == 1
    assert_same(proxied_engine, large)


@pytest.mark.parametrize("name", ["d1", "durable_object"])
def test_a_worker_that_dies_in_the_middle_is_waited_for_by_the_same_command(
    name, own_worker, large, django_db_blocker
):
    with django_db_blocker.unblock(), own_worker(port=0) as worker, alias_for(name, worker) as connection:
        connection.ensure_connection()
        seen = []

        def on_piece(table, rows):
            seen.append(table)
            if len(seen) == 3:
                # Before the kill, a slow machine may need more.
                connections[name].connection.timeout = 2
                worker.kill()

        with pytest.raises(OperationalError, match="RELAY_URL"):
            load_database(name, large, on_piece=on_piece)
        worker.restart()
        connection.close()
        report = load_database(name, large)
        assert report.units_before in (4, 5)
        assert_same(connection, large)


def test_d1_is_filled_over_its_own_api(local_worker, django_db_blocker, large):
    with django_db_blocker.unblock(), alias_for("d1", local_worker, "rest") as connection:
        interrupted("d1", large, 3)
        assert load_database("d1", large).units_before == 4
        assert_same(connection, large)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW version AS SELECT sqlite_version() AS a",
        "CREATE TABLE t (a TEXT CHECK (a <> sqlite_version()))",
    ],
)
def test_what_the_platform_alone_refuses_is_named_before_rows_travel(engine, tmp_path, inserts, statement):
    path = site_file.write(tmp_path / "db.sqlite3", statement)
    what = "view 'version'" if "VIEW" in statement else "table 't'"
    with pytest.raises(UnfitFile, match=f"Cloudflare does not accept the {what}"):
        load_database(engine.alias, path)
    assert inserts == []
    assert names(engine) == set()


def test_what_stands_in_a_log_beside_the_file_is_loaded(engine, site):
    with closing(sqlite3.connect(site)) as file:
        file.execute("PRAGMA journal_mode = wal")
        file.execute("INSERT INTO gone_app VALUES ('w', 'in the log')")
        file.commit()
        assert site.with_name("db.sqlite3-wal").stat().st_size > 0
        load_database(engine.alias, site)
    assert ("w", "in the log") in execute(engine, "SELECT * FROM gone_app")


def test_a_file_with_a_log_goes_on_after_an_interruption(engine, large):
    with closing(sqlite3.connect(large)) as file:
        file.execute("PRAGMA journal_mode = wal")
        file.execute("INSERT INTO gone_app VALUES ('w', 'in the log')")
        file.commit()
        interrupted(engine.alias, large, 2)
        assert load_database(engine.alias, large).units_before == 3


def test_a_file_that_is_no_database_to_read_says_what_to_do(tmp_path, site, monkeypatch, trips):
    monkeypatch.setattr(opening, "PATIENCE", 0.1)
    empty, folder = tmp_path / "empty.sqlite3", tmp_path / "folder"
    empty.touch()
    folder.mkdir()
    for path, told in (
        (empty, "is empty"),
        (folder, "does not exist"),
        (tmp_path / "none", "does not exist"),
    ):
        with pytest.raises(UnfitFile, match=told):
            load_database("default", path)
    with closing(sqlite3.connect(site, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnfitFile, match="is locked by another program. Stop the site"):
            load_database("default", site)
    site.with_name("db.sqlite3-journal").write_bytes(b"rolled back by nobody")
    with pytest.raises(UnfitFile, match="-journal exists"):
        load_database("default", site)
    assert trips.count == 0


def test_a_file_that_is_written_to_while_it_is_opened_is_refused(site, monkeypatch):
    digest = opening._digest

    def slow(path):
        found = digest(path)
        with closing(sqlite3.connect(path)) as file:
            file.execute("INSERT INTO gone_app VALUES ('late', '')")
            file.commit()
        return found

    monkeypatch.setattr(opening, "_digest", slow)
    with pytest.raises(UnfitFile, match="was changed while it was read"):
        load_database("default", site)


def test_a_site_that_has_lost_an_app_and_gained_one_is_loaded_and_migrate_is_told(engine, tmp_path):
    path = site_file.write(tmp_path / "db.sqlite3", "DELETE FROM django_migrations WHERE app = 'blog'")
    told = command(path, "--database", engine.alias)
    assert f"Now run: manage.py migrate --database {engine.alias} --with-other-apps" in told


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM django_migrations WHERE app IN ('accounts', 'blog')", "none of accounts, blog"),
        ("DROP TABLE accounts_user", "no table accounts_user"),
    ],
)
def test_the_file_of_another_project_is_refused_without_a_trip(d1, tmp_path, trips, statement, told):
    path = site_file.write(tmp_path / "db.sqlite3", statement)
    before = trips.count
    with pytest.raises(CommandError, match=f"The file was migrated by another project: .*{told}"):
        command(path, "--database", d1.alias)
    assert trips.count == before


@pytest.mark.parametrize(
    ("alias", "told"),
    [
        ("tenant", "does not fill the databases of tenants. .*`manage.py tenant_load SLUG FILE`"),
        ("tenant/acme", "`manage.py tenant_load acme FILE`"),
        ("nowhere", "no alias 'nowhere'"),
    ],
)
def test_an_alias_that_cannot_be_filled_is_refused(site, alias, told, trips):
    with pytest.raises(CommandError, match=told):
        command(site, "--database", alias)
    assert trips.count == 0


def test_a_database_of_another_engine_is_refused(site, monkeypatch):
    monkeypatch.setitem(
        connections.settings, "old", {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    )
    with pytest.raises(CommandError, match="its engine is django.db.backends.sqlite3"):
        command(site, "--database", "old")


def test_a_journal_that_is_kept_for_the_next_write_is_no_obstacle(d1, site):
    with closing(sqlite3.connect(site)) as file:
        file.execute("PRAGMA journal_mode = persist")
        file.execute("INSERT INTO gone_app VALUES ('p', '')")
        file.commit()
    assert site.with_name("db.sqlite3-journal").stat().st_size > 0
    load_database(d1.alias, site)
    assert_same(d1, site)
