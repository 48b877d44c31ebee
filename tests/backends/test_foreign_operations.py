"""Migrations with operations of other packages, which catch the database's errors: as on sqlite3."""

import contextlib
import logging

import pytest
from django.db import DatabaseError, migrations, models
from django.db.migrations import AddField, RemoveIndex, SeparateDatabaseAndState
from django.db.migrations.recorder import MigrationRecorder
from migration_cases import APP, add_length, create_boat, create_sailor, executor, migration, python

ENGINES_BY_DAY = ("d1", "durable_object")


class TryRemoveIndex(RemoveIndex):
    """As in django-celery-results 0010: the index may be there or not."""

    def database_forwards(self, *args, **kwargs):
        with contextlib.suppress(DatabaseError):
            super().database_forwards(*args, **kwargs)

    def database_backwards(self, *args, **kwargs):
        pass


class TryDrop(migrations.operations.base.Operation):
    """Drops a table that may not be there, by the schema editor, both ways."""

    reversible = True

    def __init__(self, table):
        self.table = table

    def state_forwards(self, app_label, state):
        pass

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        try:
            schema_editor.execute(f"DROP TABLE {self.table}")
        except DatabaseError:
            schema_editor.execute("CREATE TABLE ship_caught (id integer)")

    database_backwards = database_forwards

    def describe(self):
        return f"Drops {self.table}"


class Renamed(AddField):
    """An operation of another package that leaves what is done to the database to Django."""


def create_with_index(name):
    """CreateModel knows an index that the database loses before it is removed."""
    operation = create_boat()
    operation.options["indexes"] = [models.Index(fields=["name"], name=name)]
    return operation


def recorded(connection):
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(name for app, name in applied if app == APP)


def migrate(connection, steps, target):
    executor(connection, *steps).migrate([(APP, target)])


def tables(connection):
    return sorted(name for name in connection.introspection.table_names() if name.startswith("ship_"))


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("is_lost", [True, False])
def test_an_index_that_may_be_gone_is_removed_or_not(engine, is_lost, atomic):
    first = migration("0001", create_with_index("some"))
    second = migration("0002", TryRemoveIndex("boat", "some"), add_length(), atomic=atomic)
    migrate(engine, [first, second], "0001")
    if is_lost:
        with engine.cursor() as cursor:
            cursor.execute("DROP INDEX some")
    migrate(engine, [first, second], "0002")
    assert recorded(engine) == ["0001", "0002"]
    with engine.cursor() as cursor:
        assert "some" not in engine.introspection.get_constraints(cursor, "ship_boat")
        columns = [column.name for column in engine.introspection.get_table_description(cursor, "ship_boat")]
    assert "length" in columns


def test_what_stands_before_it_in_the_same_migration_is_there_by_then(engine):
    step = migration("0001", create_with_index("some"), TryRemoveIndex("boat", "some"), create_sailor())
    migrate(engine, [step], "0001")
    assert recorded(engine) == ["0001"]
    assert tables(engine) == ["ship_boat", "ship_sailor"]
    with engine.cursor() as cursor:
        assert "some" not in engine.introspection.get_constraints(cursor, "ship_boat")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: SeparateDatabaseAndState([one]),
        lambda one: SeparateDatabaseAndState([SeparateDatabaseAndState([one])]),
    ],
    ids=["itself", "inside", "far inside"],
)
def test_an_operation_may_catch_an_error_and_do_something_else(engine, wrap):
    step = migration("0001", create_boat(), wrap(TryDrop("ship_missing")), create_sailor())
    migrate(engine, [step], "0001")
    assert tables(engine) == ["ship_boat", "ship_caught", "ship_sailor"]


def test_an_operation_may_catch_an_error_on_the_way_back(engine):
    steps = [migration("0001", create_boat()), migration("0002", TryDrop("ship_missing"), create_sailor())]
    migrate(engine, steps, "0002")
    with engine.cursor() as cursor:
        cursor.execute("DROP TABLE ship_caught")
    executor(engine, *steps).migrate([(APP, "0001")])
    assert tables(engine) == ["ship_boat", "ship_caught"]
    assert recorded(engine) == ["0001"]


def test_python_code_may_catch_an_error_of_the_schema_editor(engine):
    def code(apps, editor):
        try:
            editor.execute("DROP TABLE ship_missing")
        except DatabaseError:
            editor.execute("CREATE TABLE ship_caught (id integer)")

    migrate(engine, [migration("0001", create_boat(), python(code), create_sailor())], "0001")
    assert tables(engine) == ["ship_boat", "ship_caught", "ship_sailor"]


def test_an_error_that_nobody_catches_undoes_the_whole_migration_on_an_object(durable_object):
    class Failing(TryDrop):
        def database_forwards(self, app_label, schema_editor, from_state, to_state):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            raise ValueError("not today")

    steps = [migration("0001", create_boat()), migration("0002", create_sailor(), Failing("ship_missing"))]
    migrate(durable_object, steps, "0001")
    with pytest.raises(ValueError, match="not today"):
        migrate(durable_object, steps, "0002")
    assert tables(durable_object) == ["ship_boat"]
    assert recorded(durable_object) == ["0001"]
    assert [type(one) for one in steps[1].operations][1] is Failing


def test_a_migration_with_such_an_operation_goes_on_where_it_failed_on_d1(d1):
    attempts = []

    class FailingOnce(TryDrop):
        def database_forwards(self, app_label, schema_editor, from_state, to_state):
            attempts.append(1)
            if len(attempts) == 1:
                raise ValueError("not today")
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    steps = [migration("0001", create_boat(), FailingOnce("ship_missing"), create_sailor())]
    with pytest.raises(ValueError, match="not today"):
        migrate(d1, steps, "0001")
    migrate(d1, steps, "0001")
    assert tables(d1) == ["ship_boat", "ship_caught", "ship_sailor"]
    assert recorded(d1) == ["0001"]


def test_an_operation_that_leaves_the_database_to_django_costs_no_batch_of_its_own(d1, caplog):
    caplog.set_level(logging.WARNING, "do_bridge.migrations")
    step = migration("0001", create_boat(), Renamed("Boat", "length", models.IntegerField(default=7)))
    migrate(d1, [step], "0001")
    assert recorded(d1) == ["0001"]
    assert "pieces" not in caplog.text
