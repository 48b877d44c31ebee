"""Migrations on both engines: each one all or nothing with its record, or able to go on."""

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path

import killed_migration
import pytest
from django.core.management.base import CommandError
from django.db import IntegrityError, NotSupportedError, migrations, models
from django.db.migrations.exceptions import InvalidMigrationPlan
from django.db.migrations.executor import MigrationExecutor as DjangoExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.transaction import atomic
from migration_cases import APP, add_length, create_boat, create_sailor, executor, migration, python

from do_bridge import batch, driver
from do_bridge.backends.remote_sqlite.migrate.progress import TABLE
from tests import forking

ENGINES_BY_DAY = ("d1", "durable_object")

HERE = Path(__file__).parent


def recorded(connection):
    """The names of the app's recorded migrations."""
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(name for app, name in applied if app == APP)


def tables(connection):
    return [name for name in connection.introspection.table_names() if name.startswith("ship_")]


def columns(connection, table="ship_boat"):
    with connection.cursor() as cursor:
        return [column.name for column in connection.introspection.get_table_description(cursor, table)]


def rows(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def migrate(connection, steps, target):
    executor(connection, *steps).migrate([(APP, target)])


def boats(apps, editor):
    return apps.get_model("ship", "Boat").objects.using(editor.connection.alias)


def add_boat(apps, editor):
    boats(apps, editor).create(name="Ann", home="Kiel")


def fail(apps, editor):
    raise RuntimeError("in the middle")


def test_a_migration_of_schema_alone_is_one_round_trip_with_its_record_on_d1(d1):
    steps = [migration("0001", create_boat(), create_sailor()), migration("0002", add_length())]
    made = executor(d1, *steps)
    made.recorder.ensure_schema()
    assert made.recorder.has_table()
    made.progress.load()
    state = made._create_project_state(with_applied_migrations=True)
    for step in steps:
        with driver.count_trips() as trips:
            state = made.apply_migration(state, step)
        assert trips.count == 1
    for step, before in ((steps[1], 1), (steps[0], 0)):
        state = made.loader.graph.make_state(
            nodes=[(APP, item.name) for item in steps[:before]], at_end=True, real_apps=set()
        )
        with driver.count_trips() as trips:
            made.unapply_migration(state, step)
        assert trips.count == 1
    assert (recorded(d1), tables(d1)) == ([], [])


def test_a_migration_and_its_record_are_two_round_trips_on_an_object(durable_object):
    step = migration("0001", create_boat(), create_sailor(), add_length())
    made = executor(durable_object, step)
    made.recorder.ensure_schema()
    assert made.recorder.has_table()
    with driver.count_trips() as trips:
        made.apply_migration(made._create_project_state(), step)
    assert trips.count == 2
    assert recorded(durable_object) == ["0001"]


@pytest.mark.parametrize("case", ["schema", "python"])
def test_a_migration_killed_between_its_statements_leaves_nothing_and_runs_again(engine, case):
    result = forking.run(
        [HERE / "killed_migration.py", case],
        text=json.dumps({**engine.settings_dict}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])},
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert recorded(engine) == ["0001"]
    whole = engine.alias == "durable_object" or case == "schema"
    # On D1 the piece before the Python code stands, and is known to stand.
    assert tables(engine) == (["ship_boat"] if whole else ["ship_boat", "ship_sailor"])
    assert ("length" in columns(engine)) is not whole
    migrate(engine, killed_migration.steps(case, add_boat), "0002")
    assert recorded(engine) == ["0001", "0002"]
    assert columns(engine) == ["id", "name", "port", "length"]
    assert len(rows(engine, "SELECT * FROM ship_boat")) == (1 if case == "python" else 0)


def test_a_migration_that_fails_leaves_nothing_behind_on_an_object(durable_object):
    steps = [migration("0001", create_boat(), python(add_boat), add_length(), python(fail))]
    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(durable_object, steps, "0001")
    assert (recorded(durable_object), tables(durable_object)) == ([], [])


def test_a_schema_migration_that_fails_leaves_nothing_behind(engine):
    twice = migrations.RunSQL("CREATE TABLE ship_boat (id integer)")
    with pytest.raises(Exception, match="already exists"):
        migrate(engine, [migration("0001", create_boat(), twice)], "0001")
    assert (recorded(engine), tables(engine)) == ([], [])


def test_a_python_migration_on_d1_goes_on_where_it_failed(d1, caplog):
    calls = []

    def count_and_add(apps, editor):
        calls.append("added")
        add_boat(apps, editor)

    def steps(second):
        return [migration("0001", create_boat(), python(count_and_add), add_length(), python(second),
                          create_sailor())]  # fmt: skip

    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(d1, steps(fail), "0001")
    assert "runs Python code, so on Cloudflare D1 it needs 5 batches" in caplog.text
    assert recorded(d1) == []
    assert columns(d1) == ["id", "name", "home", "length"]
    caplog.clear()
    migrate(d1, steps(lambda apps, editor: calls.append("second")), "0001")
    assert "continues after 3 of its 5 operations" in caplog.text
    assert calls == ["added", "second"]
    assert recorded(d1) == ["0001"]
    assert tables(d1) == ["ship_boat", "ship_sailor"]
    assert rows(d1, f"SELECT * FROM {TABLE}") == []


@pytest.mark.parametrize(("together", "names"), [(True, ["Bea"]), (False, ["Ann", "Bea"])])
def test_python_code_that_failed_on_d1_is_repeated_whole_and_stands_in_part_but_for_a_batch(
    d1, together, names
):
    def half(apps, editor):
        with batch(using=editor.connection.alias) if together else nullcontext():
            add_boat(apps, editor)
            fail(apps, editor)

    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(d1, [migration("0001", create_boat(), python(half))], "0001")
    again = python(lambda apps, editor: boats(apps, editor).create(name="Bea", home="Kiel"))
    migrate(d1, [migration("0001", create_boat(), again)], "0001")
    assert [name for (name,) in rows(d1, "SELECT name FROM ship_boat")] == names


def test_python_code_sees_what_the_operations_before_it_made(engine):
    seen = []

    def look(apps, editor):
        seen.extend(boats(apps, editor).values_list("name", "length"))

    steps = [migration("0001", create_boat(), python(add_boat), add_length(), python(look))]
    migrate(engine, steps, "0001")
    assert seen == [("Ann", 7)]


def test_python_code_may_use_the_schema_editor_and_read_at_once(engine):
    seen = []

    def make(apps, editor):
        editor.execute("CREATE TABLE ship_extra (id integer)")
        seen.append("ship_extra" in editor.connection.introspection.table_names())

    migrate(engine, [migration("0001", python(make))], "0001")
    assert seen == [True]


def test_a_block_that_fails_inside_python_code_undoes_nothing_that_came_before(engine):
    def swallow(apps, editor):
        with pytest.raises(ZeroDivisionError, match="^$"), atomic(editor.connection.alias):
            assert boats(apps, editor).count() == 0
            raise ZeroDivisionError

    migrate(engine, [migration("0001", create_boat(), python(swallow))], "0001")
    assert (recorded(engine), tables(engine)) == (["0001"], ["ship_boat"])


def test_python_code_may_begin_with_a_write_of_many_pieces(engine):
    def fill(apps, editor):
        model = boats(apps, editor).model
        large = "x" * 700_000
        boats(apps, editor).bulk_create([model(name=str(n), home=large) for n in range(5)])

    migrate(engine, [migration("0001", create_boat(), python(fill))], "0001")
    assert rows(engine, "SELECT count(*), max(length(home)) FROM ship_boat") == [(5, 700_000)]


def test_python_code_may_open_a_schema_editor_of_its_own(engine):
    def alter(apps, editor):
        with editor.connection.schema_editor() as own:
            own.execute("ALTER TABLE ship_boat ADD COLUMN extra text")

    migrate(engine, [migration("0001", create_boat(), python(alter), create_sailor())], "0001")
    assert "extra" in columns(engine)
    assert recorded(engine) == ["0001"]


def test_unapplying_a_python_migration_on_d1_goes_on_where_it_failed(d1):
    def steps(reverse):
        return [migration("0001", create_boat(), python(add_boat, reverse), create_sailor())]

    migrate(d1, steps(fail), "0001")
    with pytest.raises(RuntimeError, match="in the middle"):
        executor(d1, *steps(fail)).migrate([(APP, None)])
    assert (recorded(d1), tables(d1)) == (["0001"], ["ship_boat"])
    executor(d1, *steps(migrations.RunPython.noop)).migrate([(APP, None)])
    assert (recorded(d1), tables(d1)) == ([], [])


def test_an_unfinished_migration_whose_operations_were_changed_is_refused(d1):
    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(d1, [migration("0001", create_boat(), python(fail))], "0001")
    with pytest.raises(InvalidMigrationPlan, match="interrupted after 1 operations"):
        migrate(d1, [migration("0001", create_sailor(), python(fail))], "0001")
    executor(d1, migration("0001", create_boat(), python(fail))).migrate([(APP, "0001")], fake=True)
    assert rows(d1, f"SELECT * FROM {TABLE}") == []


def test_what_an_unfinished_migration_stands_on_is_not_unapplied(d1):
    steps = [migration("0001", create_boat()), migration("0002", add_length(), python(fail))]
    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(d1, steps, "0002")
    with pytest.raises(InvalidMigrationPlan, match="^ship.0002 was interrupted after 1") as caught:
        executor(d1, *steps).migrate([(APP, None)])
    assert isinstance(caught.value, CommandError)
    assert caught.value.returncode == 1


def test_nothing_is_built_on_a_migration_that_is_half_unapplied(engine):
    def steps(reverse):
        half = [add_length(), python(boats, reverse), create_sailor()]
        create_buoy = migrations.CreateModel("Buoy", [("id", models.BigAutoField(primary_key=True))])
        return [
            migration("0001", create_boat()),
            migration("0002", *half, atomic=False),
            migration("0003", create_buoy),
        ]

    executor(engine, *steps(fail)).migrate([(APP, "0002")])
    with pytest.raises(RuntimeError, match="in the middle"):
        executor(engine, *steps(fail)).migrate([(APP, "0001")])
    assert (recorded(engine), tables(engine)) == (["0001", "0002"], ["ship_boat"])
    for target in ("0002", "0003"):
        with pytest.raises(CommandError, match=f"`manage.py migrate ship 0001 --database {engine.alias}`"):
            executor(engine, *steps(migrations.RunPython.noop)).migrate([(APP, target)])
    for target in ("0001", "0003"):
        executor(engine, *steps(migrations.RunPython.noop)).migrate([(APP, target)])
    assert (recorded(engine), rows(engine, f"SELECT * FROM {TABLE}")) == (["0001", "0002", "0003"], [])
    assert tables(engine) == ["ship_boat", "ship_buoy", "ship_sailor"]


def test_all_is_unapplied_to_zero_and_children_keep_their_rows_on_the_way(engine):
    steps = [migration("0001", create_boat(), create_sailor()), migration("0002", add_length())]
    migrate(engine, steps, "0002")
    rows(engine, "INSERT INTO ship_boat (name, home, length) VALUES ('a', 'b', 1) RETURNING id")
    rows(engine, "INSERT INTO ship_sailor (boat_id) VALUES (1) RETURNING id")
    migrate(engine, steps, "0001")
    assert columns(engine) == ["id", "name", "home"]
    assert rows(engine, "SELECT boat_id FROM ship_sailor") == [(1,)]
    executor(engine, *steps).migrate([(APP, None)])
    assert (recorded(engine), tables(engine)) == ([], [])


def test_faked_and_empty_migrations_are_recorded_alone(engine):
    executor(engine, migration("0001", create_boat())).migrate([(APP, "0001")], fake=True)
    assert (recorded(engine), tables(engine)) == (["0001"], [])
    migrate(engine, [migration("0001", create_boat()), migration("0002")], "0002")
    assert recorded(engine) == ["0001", "0002"]
    executor(engine, migration("0001", create_boat()), migration("0002")).migrate([(APP, None)], fake=True)
    assert recorded(engine) == []


def test_an_initial_migration_whose_tables_are_there_is_recorded_alone(engine):
    step = migration("0001", create_boat(), initial=True)
    migrate(engine, [step], "0001")
    MigrationRecorder(engine).record_unapplied(APP, "0001")
    executor(engine, step).migrate([(APP, "0001")], fake_initial=True)
    assert recorded(engine) == ["0001"]


def test_a_squashed_migration_records_those_that_it_replaces(engine):
    step = migration("0001_squashed", create_boat(), replaces=[(APP, "0001"), (APP, "0002")])
    migrate(engine, [step], "0001_squashed")
    assert recorded(engine) == ["0001", "0001_squashed", "0002"]


def test_a_migration_without_a_transaction_goes_on_where_it_failed(engine):
    def steps(last):
        return [migration("0001", create_boat(), python(add_boat), add_length(), last, atomic=False)]

    with pytest.raises(Exception, match="syntax error"):
        migrate(engine, steps(migrations.RunSQL("NONSENSE")), "0001")
    migrate(engine, steps(migrations.RunSQL("UPDATE ship_boat SET length = 9")), "0001")
    assert rows(engine, "SELECT name, length FROM ship_boat") == [("Ann", 9)]
    assert recorded(engine) == ["0001"]


def test_dropping_a_unique_pair_of_the_same_migration_works(engine):
    drop = migrations.AlterUniqueTogether("Boat", {("name", "id")})
    migrate(engine, [migration("0001", create_boat(), drop)], "0001")
    rows(engine, "INSERT INTO ship_boat (name, home) VALUES ('a', 'b'), ('a', 'b') RETURNING id")
    assert len(rows(engine, "SELECT * FROM ship_boat")) == 2


def test_djangos_own_executor_records_a_schema_migration_in_its_own_unit(engine):
    step = migration("0001", create_boat(), create_sailor())
    made = DjangoExecutor(engine)
    made.loader.graph.add_node((APP, "0001"), step)
    made.recorder.ensure_schema()
    assert made.recorder.has_table()
    with driver.count_trips() as trips:
        made.apply_migration(made._create_project_state(), step)
    assert trips.count == (1 if engine.alias.startswith("d1") else 7)
    assert recorded(engine) == ["0001"]
    assert "ship_boat_name_home" in "".join(
        name for (name,) in rows(engine, "SELECT name FROM sqlite_master WHERE type = 'index'")
    )


def test_the_migrations_lease_is_its_own_and_is_given_back(durable_object):
    leases = []
    durable_object.settings_dict["OPTIONS"]["migration_lease"] = 12

    def look(apps, editor):
        leases.append(editor.connection.connection.lease)

    migrate(durable_object, [migration("0001", python(look))], "0001")
    assert leases == [12.0]
    assert durable_object.connection.lease == 10.0


def test_a_statement_that_is_too_long_is_refused_with_the_migration(engine):
    long = migrations.RunSQL(f"SELECT '{'x' * 100_000}'")
    with pytest.raises(NotSupportedError, match="Pass large values as parameters"):
        migrate(engine, [migration("0001", create_boat(), long)], "0001")
    assert (recorded(engine), tables(engine)) == ([], [])
    given = migrations.RunSQL([("UPDATE ship_boat SET name = %s", ["x" * 150_000])])
    migrate(engine, [migration("0001", create_boat(), given)], "0001")
    assert recorded(engine) == ["0001"]


def test_rows_that_break_a_new_foreign_key_are_named(engine):
    steps = [migration("0001", create_boat(), migrations.CreateModel("Note", [
        ("id", models.BigAutoField(primary_key=True)), ("boat", models.BigIntegerField())])),
        migration("0002", migrations.AlterField("Note", "boat", models.ForeignKey(
            "ship.Boat", models.CASCADE, db_column="boat")))]  # fmt: skip
    migrate(engine, steps, "0001")
    rows(engine, "INSERT INTO ship_note (boat) VALUES (5) RETURNING id")
    with pytest.raises(IntegrityError, match="ship_note row 1 to ship_boat"):
        migrate(engine, steps, "0002")
    assert recorded(engine) == ["0001"]
    assert rows(engine, "SELECT boat FROM ship_note") == [(5,)]
