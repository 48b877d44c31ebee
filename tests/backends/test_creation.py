"""Test databases of the durable_object engine: beside the configured object, never the configured one."""

import json
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connections
from django.test import override_settings, utils
from engine_aliases import settings_for
from shelf import Author, tables

from do_bridge import django_compat, driver
from do_bridge.backends.durable_object.base import DatabaseWrapper
from do_bridge.backends.remote_sqlite import creation


@pytest.fixture
def made(local_worker, django_db_blocker):
    """made(**settings): a wrapper of the engine under an alias of its own."""
    aliases = []

    def made(**changes):
        alias = f"made{len(aliases)}"
        connections.settings[alias] = {**settings_for("durable_object", local_worker), **changes}
        aliases.append(alias)
        return connections[alias]

    with django_db_blocker.unblock():
        yield made
        for alias in aliases:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]


def created(connection, **options):
    """Make the test database without running the site's migrations."""
    name = connection.creation._create_test_db(verbosity=0, autoclobber=True, **options)
    connection.close()
    connection.settings_dict["NAME"] = name
    return name


def count(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM shelf_author")
        return cursor.fetchone()[0]


def test_the_configured_object_is_out_of_reach_while_tests_run(made):
    connection = made(NAME="precious")
    refusal = pytest.raises(ImproperlyConfigured, match="may not connect to the configured database")
    with driver.count_trips() as trips, refusal:
        connection.cursor()
    assert trips.count == 0


@pytest.fixture
def no_tests(monkeypatch):
    """no_tests(): a context as in a process that runs no tests."""

    @contextmanager
    def no_tests():
        with monkeypatch.context() as outside:
            outside.delattr(utils._TestState, "saved_data")
            outside.setattr(creation, "_in_place", set())
            yield

    return no_tests


def one(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


def test_the_configured_object_is_reached_when_no_test_runs(made, no_tests):
    with no_tests():
        assert one(made(NAME="tenant/not-in-tests")) == 1


def test_a_connection_from_before_the_tests_reaches_the_configured_object_no_more(made, no_tests):
    connection = made(NAME="precious")
    with no_tests():
        assert one(connection) == 1
    with driver.count_trips() as trips:
        with pytest.raises(ImproperlyConfigured, match="may not connect to the configured database"):
            one(connection)
        # Another thread's, whose alias got its test database since.
        connection.settings_dict["NAME"] = "test/precious"
        with pytest.raises(ImproperlyConfigured, match="may not connect to the configured database"):
            one(connection)
    assert trips.count == 0
    connection.close()
    assert one(connection) == 1


def test_beside_a_test_database_no_configured_one_is_reached(made, no_tests, settings):
    """As in `manage.py testserver`, which makes one alias's and sets up no test environment."""
    settings.INSTALLED_APPS = ["django.contrib.contenttypes"]
    settings.DATABASE_ROUTERS = []
    served, other = made(NAME="served"), made(NAME="precious")
    with no_tests():
        served.creation.create_test_db(**django_compat.without_serialization(verbosity=0))
        assert one(served) == 1
        with pytest.raises(ImproperlyConfigured, match="may not connect to the configured database"):
            one(other)
        served.creation.destroy_test_db("served", verbosity=0)
        assert one(other) == 1


@pytest.mark.parametrize(
    ("name", "test_name", "expected"),
    [
        ("shop", None, "test/shop"),
        ("tenant/acme", None, "test/tenant/acme"),
        ("shop", "run7", "test/run7"),
        ("shop", "test/run7/shop", "test/run7/shop"),
        ("", None, "test/tenants"),
    ],
)
def test_a_test_objects_name_is_kept_apart(made, name, test_name, expected):
    assert made(NAME=name, TEST={"NAME": test_name}).creation._get_test_db_name() == expected


def test_an_object_configured_with_a_tests_name_is_refused(made):
    with pytest.raises(ImproperlyConfigured, match="reserved for tests"):
        made(NAME="test/shop").creation._get_test_db_name()


def test_another_aliases_object_is_no_test_object(made):
    made(NAME="test/staging")
    with pytest.raises(ImproperlyConfigured, match="'test/staging', the configured object of 'made0'"):
        made(NAME="staging").creation._get_test_db_name()


def test_a_test_object_is_emptied_before_use_unless_kept(made):
    connection = made(NAME="emptied")
    created(connection)
    with tables(connection) as using:
        Author.objects.using(using).create(name="left over")
    created_again = made(NAME="emptied")
    assert created(created_again, keepdb=True) == "test/emptied"
    assert count(created_again) == 1
    last = made(NAME="emptied")
    created(last)
    assert last.introspection.table_names() == []


def test_tables_that_point_at_each_other_are_dropped(made):
    connection = made(NAME="circle")
    created(connection)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, b INT REFERENCES b(id))")
        cursor.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, a INT NOT NULL REFERENCES a(id))")
        cursor.execute("CREATE VIEW v AS SELECT * FROM a")
        cursor.execute("CREATE VIRTUAL TABLE f USING fts5(x)")
        cursor.execute("INSERT INTO a VALUES (1, NULL)")
        cursor.execute("INSERT INTO b VALUES (1, 1)")
        cursor.execute("UPDATE a SET b = 1")
    connection.creation._destroy_test_db("test/circle", verbosity=0)
    assert connection.introspection.table_names(include_views=True) == []


def test_a_clone_for_a_parallel_process_has_schema_and_rows(made):
    connection = made(NAME="cloned")
    created(connection)
    with tables(connection) as using:
        Author.objects.using(using).create(name="one", id=2**53 + 1)
    connection.creation._clone_test_db("3", verbosity=0)
    assert connection.creation.get_test_db_clone_settings("3")["NAME"] == "test/clone-3/cloned"
    connection.creation.setup_worker_connection(3)
    assert count(connection) == 1
    assert Author.objects.using(connection.alias).get().pk == 2**53 + 1


def test_the_tenants_template_gets_a_prefix_and_is_never_connected_to(made):
    template = made(NAME="")
    with driver.count_trips() as trips:
        name = template.creation.create_test_db(verbosity=0)
        assert (name, template.settings_dict["NAME"]) == ("test/tenants", "test/tenants")
        with pytest.raises(ImproperlyConfigured, match="template for the tenants' databases"):
            template.cursor()
        template.creation.destroy_test_db("", verbosity=0)
    assert trips.count == 0


@pytest.mark.parametrize("setting", ["HOST", "PASSWORD"])
def test_a_missing_setting_is_named_and_no_secret_shown(made, local_worker, setting):
    connection = made(NAME="test/shop", **{setting: ""})
    with pytest.raises(ImproperlyConfigured, match=f"{setting}.*is empty") as caught:
        connection.cursor()
    assert local_worker.token not in str(caught.value)


def test_an_unknown_option_is_named(made):
    with pytest.raises(ImproperlyConfigured, match="'laese'.*Use .*'lease'"):
        made(NAME="test/shop", OPTIONS={"laese": 3}).cursor()


def test_serializing_the_template_reads_nothing_and_connects_nowhere(made):
    template = made(NAME="")
    with driver.count_trips() as trips:
        data = template.creation.serialize_db_to_string()
        template.creation.deserialize_db_from_string(data)
    assert (data, trips.count) == ("[]", 0)


# The site's router would send a group's permissions to the site's database.
@override_settings(DATABASE_ROUTERS=[])
def test_serialized_rows_come_back_in_any_order_into_their_own_alias(engine):
    models = (ContentType, Permission, Group)
    rows = [
        {"model": "auth.group", "pk": 3, "fields": {"name": "all", "permissions": [2]}},
        {
            "model": "auth.permission",
            "pk": 2,
            "fields": {"name": "Can", "content_type": 9, "codename": "can"},
        },
        {"model": "contenttypes.contenttype", "pk": 9, "fields": {"app_label": "zoo", "model": "ape"}},
    ]
    with engine.schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    # The second time all the rows are there.
    for _ in range(2):
        engine.creation.deserialize_db_from_string(json.dumps(rows))
    assert [model.objects.using(engine.alias).count() for model in models] == [1, 1, 1]
    assert Group.objects.using(engine.alias).get().permissions.get().content_type.model == "ape"


def test_serialized_rows_that_point_nowhere_change_nothing(engine):
    with engine.schema_editor() as editor:
        editor.create_model(ContentType)
        editor.create_model(Permission)
    fields = {"name": "Can", "content_type": 9, "codename": "can"}
    data = json.dumps([{"model": "auth.permission", "pk": 2, "fields": fields}])
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
        engine.creation.deserialize_db_from_string(data)
    assert Permission.objects.using(engine.alias).count() == 0


def test_wrappers_show_no_secret(made, local_worker):
    connection = made(NAME="test/shop")
    connection.ensure_connection()
    assert isinstance(connection, DatabaseWrapper)
    assert local_worker.token not in repr(connection) + repr(connection.connection)
