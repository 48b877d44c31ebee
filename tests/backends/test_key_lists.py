"""Deletes and updates by long lists of keys: one statement, however many rows."""

import pytest
from django.db import connections, models
from django.db.migrations.state import ModelState
from django.test import override_settings
from shelf import Author, stock_tables
from test_schema import create, make_apps, model_state

from do_bridge import driver
from do_bridge.backends.remote_sqlite.queries import key_lists


@pytest.fixture
def animals(engine):
    """make(model name, fields) -> a model with its table, and no router in the way."""

    def make(name, *fields, **options):
        apps = make_apps(model_state(name, list(fields), **options))
        create(engine, apps, name)
        return apps.get_model("zoo", name).objects.using(engine.alias)

    with override_settings(DATABASE_ROUTERS=[]):
        yield make


def test_rows_that_point_at_each_other_are_deleted_together(animals):
    nodes = animals("Node", ("next", models.ForeignKey("self", models.CASCADE)))
    nodes.bulk_create([nodes.model(id=n, next_id=n % 500 + 1) for n in range(1, 501)])
    assert nodes.all().delete() == (500, {"zoo.Node": 500})
    assert nodes.count() == 0


def test_deleting_a_row_with_a_thousand_children_takes_few_trips(animals):
    nodes = animals("Node", ("parent", models.ForeignKey("self", models.CASCADE, null=True)))
    root = nodes.create()
    nodes.bulk_create([nodes.model(parent=root) for _ in range(1000)])
    with driver.count_trips() as trips:
        assert root.delete() == (1001, {"zoo.Node": 1001})
    # Its children, theirs, the UPDATE that lets them go, the DELETE; and in a transaction its COMMIT.
    assert trips.count <= 5
    assert nodes.count() == 0


def test_children_that_let_go_of_a_row_are_updated_by_one_statement(animals):
    nodes = animals("Node", ("parent", models.ForeignKey("self", models.SET_NULL, null=True)))
    root = nodes.create()
    nodes.bulk_create([nodes.model(parent=root) for _ in range(1000)])
    with driver.count_trips() as trips:
        assert root.delete() == (1, {"zoo.Node": 1})
    assert trips.count <= 4
    assert nodes.filter(parent=None).count() == 1000


def test_a_list_of_keys_too_long_for_one_parameter_is_cut(animals, monkeypatch):
    monkeypatch.setattr(key_lists, "LIST_BYTES", 1000)
    nodes = animals("Node", ("parent", models.ForeignKey("self", models.SET_NULL, null=True)))
    nodes.bulk_create([nodes.model(id=10_000 + n) for n in range(300)])
    query = key_lists.KeyListDelete(nodes.model)
    with driver.count_trips() as trips:
        assert query.delete_batch([10_000 + n for n in range(250)], nodes.db) == 250
    # 8 bytes a key: 125 go together.
    assert trips.count == 2
    assert nodes.count() == 50


def test_keys_that_are_blobs_are_deleted_by_djangos_hundreds(engine, animals):
    apps = make_apps(ModelState("zoo", "Stone", [("key", models.BinaryField(primary_key=True))]))
    create(engine, apps, "Stone")
    stones = apps.get_model("zoo", "Stone").objects.using(engine.alias)
    keys = [bytes([n]) * 3 for n in range(120)]
    stones.bulk_create([stones.model(key=key) for key in keys])
    with driver.count_trips() as trips:
        assert key_lists.KeyListDelete(stones.model).delete_batch(keys[1:], stones.db) == 119
    assert trips.count == 2
    assert bytes(stones.get().key) == keys[0]


def test_other_engines_keep_djangos_way(django_db_blocker):
    with django_db_blocker.unblock(), stock_tables() as alias:
        Author.objects.using(alias).bulk_create([Author(id=n) for n in range(1, 251)])
        connections[alias].force_debug_cursor = True
        query = key_lists.KeyListDelete(Author)
        assert query.delete_batch(list(range(1, 251)), alias) == 250
        assert sum("DELETE" in entry["sql"] for entry in connections[alias].queries) == 3
