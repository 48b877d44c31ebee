"""Django's commands for data and SQL do on each engine what they do elsewhere."""

import datetime
import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.core.management.color import no_style
from django.db import DatabaseError
from shelf import Author, Book, tables

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 0, 123000, tzinfo=datetime.UTC)


@pytest.fixture
def ring(engine, settings):
    """The models of an application whose rows point at each other, migrated into each engine's database."""
    # An object's own alias decides where it is written.
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "ring"]
    call_command("migrate", "ring", database=engine.alias, verbosity=0)
    from ring.models import Node

    return Node


def nodes(engine, ring):
    return list(ring.objects.using(engine.alias).order_by("pk").values_list("pk", "name", "next_id"))


def output(command, *args, **options):
    out = io.StringIO()
    call_command(command, *args, stdout=out, **options)
    return out.getvalue()


def flush(engine):
    # The handlers of post_migrate would look for tables of other applications.
    call_command("flush", database=engine.alias, interactive=False, verbosity=0, inhibit_post_migrate=True)


def record(pk, name, following=None, **fields):
    return {"model": "ring.node", "pk": pk, "fields": {"name": name, "next": following, **fields}}


@pytest.fixture
def load(engine, ring, tmp_path):
    """load(records): runs loaddata with a fixture of them."""

    def load(records):
        fixture = tmp_path / "nodes.json"
        fixture.write_text(json.dumps(records))
        call_command("loaddata", str(fixture), database=engine.alias, verbosity=0)

    return load


def test_dumpdata_writes_what_loaddata_reads(engine, ring, load):
    manager = ring.objects.using(engine.alias)
    first = manager.create(name="a", weight=0.1, moment=MOMENT, data=b"\x00\xff")
    first.seen.add(manager.create(name="b", next=first))
    manager.filter(pk=first.pk).update(next_id=2)
    dumped = output("dumpdata", "ring", database=engine.alias)
    flush(engine)
    load(json.loads(dumped))
    assert output("dumpdata", "ring", database=engine.alias) == dumped
    again = manager.get(pk=first.pk)
    assert (again.weight, again.moment, bytes(again.data)) == (0.1, MOMENT, b"\x00\xff")
    assert [node.name for node in again.seen.all()] == ["b"]


def test_loaddata_takes_rows_that_point_at_later_ones_and_in_a_circle(engine, ring, load):
    load([record(1, "a", 2), record(2, "b", 3), record(3, "c", 1)])
    assert nodes(engine, ring) == [(1, "a", 2), (2, "b", 3), (3, "c", 1)]


def test_loaddata_takes_relations_to_later_rows(engine, ring, load):
    load([record(1, "a", seen=[2, 3]), record(2, "b", seen=[]), record(3, "c", seen=[])])
    seen = ring.objects.using(engine.alias).get(pk=1).seen
    assert sorted(seen.values_list("name", flat=True)) == ["b", "c"]


def test_loaddata_writes_over_what_is_there(engine, ring, load):
    load([record(1, "a"), record(2, "b")])
    load([record(2, "B", 3), record(3, "c", 1)])
    assert nodes(engine, ring) == [(1, "a", None), (2, "B", 3), (3, "c", 1)]


def test_loaddata_finds_rows_by_natural_keys_of_the_same_fixture(engine, ring, load):
    fields = [{"name": "a", "next": None}, {"name": "b", "next": ["a"]}, {"name": "c", "next": ["b"]}]
    load([{"model": "ring.node", "fields": values} for values in fields])
    assert nodes(engine, ring) == [(1, "a", None), (2, "b", 1), (3, "c", 2)]


def test_loaddata_names_the_row_that_failed_and_leaves_nothing(engine, ring, load):
    with pytest.raises(DatabaseError, match=r"ring.Node\(pk=3\).*UNIQUE constraint failed"):
        load([record(1, "a", 2), record(2, "b"), record(3, "a")])
    assert nodes(engine, ring) == []


def test_loaddata_refuses_a_row_that_points_nowhere_and_leaves_nothing(engine, ring, load):
    with pytest.raises(DatabaseError, match="ring_node"):
        load([record(1, "a"), record(2, "b", 99)])
    assert nodes(engine, ring) == []


def test_sqlmigrate_shows_what_migrate_would_send_and_sends_nothing(engine, ring):
    call_command("migrate", "ring", "zero", database=engine.alias, verbosity=0)
    sql = output("sqlmigrate", "ring", "0001", database=engine.alias)
    assert 'CREATE TABLE "ring_node" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT' in sql
    assert 'REFERENCES "ring_node" ("id")' in sql
    assert "DEFERRABLE" not in sql
    assert 'CREATE INDEX "ring_node_next_id' in sql
    assert 'DROP TABLE "ring_node"' in output(
        "sqlmigrate", "ring", "0001", database=engine.alias, backwards=True
    )
    assert "ring_node" not in engine.introspection.table_names()


def test_sqlflush_shows_what_flush_does(engine, ring):
    sql = output("sqlflush", database=engine.alias)
    assert 'DELETE FROM "ring_node";' in sql
    assert 'DELETE FROM "ring_node_seen";' in sql
    assert "django_migrations" not in sql


def test_flush_empties_tables_whose_rows_point_at_each_other_and_begins_keys_anew(engine, ring, load):
    load([record(5, "a", 6), record(6, "b", 5)])
    flush(engine)
    assert nodes(engine, ring) == []
    assert ring.objects.using(engine.alias).create(name="next").pk == 1
    assert "[X] 0001_initial" in output("showmigrations", "ring", database=engine.alias)


def test_flush_says_why_it_could_not(engine, ring):
    with engine.cursor() as cursor:
        cursor.execute("CREATE TABLE other (node_id integer REFERENCES ring_node)")
        cursor.execute("INSERT INTO ring_node (id, name, weight, data) VALUES (1, 'a', 0, '')")
        cursor.execute("INSERT INTO other VALUES (1)")
    with pytest.raises(CommandError, match="couldn't be flushed"):
        flush(engine)
    assert nodes(engine, ring) == [(1, "a", None)]


def test_a_flush_that_cascades_takes_the_tables_that_point_at_the_one_that_is_named(engine):
    with tables(engine) as alias:
        author = Author.objects.using(alias).create(name="ann")
        Book.objects.using(alias).create(author=author)
        sql = engine.ops.sql_flush(no_style(), ["shelf_author"], allow_cascade=True)
        engine.ops.execute_sql_flush(sql)
        assert not Author.objects.using(alias).exists()
        assert not Book.objects.using(alias).exists()
