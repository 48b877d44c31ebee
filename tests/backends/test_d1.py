"""The D1 engine: what stands after a failed block is told, and tests never reach a configured database."""

import logging

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management.color import no_style
from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError
from engine_aliases import CONFIGURED, OWN, UNUSED, alias_for

import do_bridge
from do_bridge import django_compat, driver


def run(connection, *statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def rows(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture
def table(d1):
    run(d1, "CREATE TABLE t (id integer PRIMARY KEY, a text UNIQUE)")
    return d1


def errors(caplog):
    return [record for record in caplog.records if record.name == "do_bridge.d1"]


def test_a_block_that_fails_after_writing_tells_how_many_statements_stand(table, caplog):
    with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')", "SELECT 1", "UPDATE t SET a = 'y'")
        raise ZeroDivisionError
    [record] = errors(caplog)
    assert record.levelno == logging.ERROR
    assert record.statements == 2
    assert "2 statement(s) have been committed" in record.getMessage()
    assert rows(table, "SELECT a FROM t") == [("y",)]


def test_a_block_that_ends_well_or_only_reads_tells_nothing(table, caplog):
    with transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')")
    with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"):
        run(table, "SELECT * FROM t")
        raise ZeroDivisionError
    assert errors(caplog) == []


def test_with_autocommit_off_each_rollback_tells_what_stands(table, caplog):
    transaction.set_autocommit(False, using="d1")
    try:
        run(table, "INSERT INTO t (a) VALUES ('x')")
        transaction.commit(using="d1")
        run(table, "INSERT INTO t (a) VALUES ('y')")
        transaction.rollback(using="d1")
    finally:
        transaction.set_autocommit(True, using="d1")
    assert [record.statements for record in errors(caplog)] == [1]


def test_closing_inside_a_block_tells_what_stands(table, caplog):
    with transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')")
        table.close()
    transaction.set_autocommit(False, using="d1")
    run(table, "INSERT INTO t (a) VALUES ('y')", "INSERT INTO t (a) VALUES ('z')")
    table.close()
    assert [record.statements for record in errors(caplog)] == [1, 2]
    assert rows(table, "SELECT count(*) FROM t") == [(3,)]


def test_an_unknown_option_is_named(d1):
    other = d1.copy()
    other.settings_dict["OPTIONS"]["lease"] = 3
    with pytest.raises(ImproperlyConfigured, match="'lease'.*Use 'transport'"):
        other.connect()


def test_an_inner_block_may_fail_and_the_outer_one_goes_on(table, caplog):
    with transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')")
        with pytest.raises(IntegrityError, match="UNIQUE constraint failed"), transaction.atomic("d1"):
            run(table, "INSERT INTO t (a) VALUES ('x')")
        run(table, "INSERT INTO t (a) VALUES ('z')")
    assert errors(caplog) == []
    assert rows(table, "SELECT count(*) FROM t") == [(2,)]


def test_each_standing_statement_is_told_once(table, caplog):
    with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"), transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')")
        raise ZeroDivisionError
    assert [record.statements for record in errors(caplog)] == [1]


def test_on_commit_runs_after_a_block_and_not_after_a_failed_one(table):
    calls = []
    with transaction.atomic("d1"):
        transaction.on_commit(lambda: calls.append(1), using="d1")
    with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"):
        transaction.on_commit(lambda: calls.append(2), using="d1")
        raise ZeroDivisionError
    assert calls == [1]


def test_a_block_costs_no_round_trip_of_its_own(table):
    with driver.count_trips() as trips, transaction.atomic("d1"), transaction.atomic("d1"):
        run(table, "INSERT INTO t (a) VALUES ('x')")
    assert trips.count == 1


def test_a_flush_is_one_round_trip_and_minds_the_order_of_keys(engine):
    run(engine, "CREATE TABLE a (id integer PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a (id))",
        "INSERT INTO a (id) VALUES (5)", "INSERT INTO b VALUES (1, 5)")  # fmt: skip
    statements = engine.ops.sql_flush(no_style(), ["a", "b"], reset_sequences=True)
    with driver.count_trips() as trips:
        engine.ops.execute_sql_flush(statements)
    assert trips.count == 1
    assert rows(engine, "INSERT INTO a DEFAULT VALUES RETURNING id") == [(1,)]
    run(engine, "INSERT INTO b VALUES (1, 1)")
    with pytest.raises(IntegrityError, match="b row 1 to a"):
        engine.ops.execute_sql_flush(engine.ops.sql_flush(no_style(), ["a"]))
    assert rows(engine, "SELECT count(*) FROM a") == [(1,)]


def test_the_rest_transport_does_the_same(local_worker, django_db_blocker):
    with django_db_blocker.unblock(), alias_for("d1", local_worker, "rest") as connection:
        run(connection, "CREATE TABLE t (id integer PRIMARY KEY, a text UNIQUE)")
        with connection.batch():
            run(connection, "INSERT INTO t (a) VALUES ('x')", "INSERT INTO t (a) VALUES ('y')")
        with pytest.raises(IntegrityError, match="Statement 1 of the batch"), connection.batch():
            run(connection, "INSERT INTO t (a) VALUES ('z')", "INSERT INTO t (a) VALUES ('x')")
        assert rows(connection, "SELECT a FROM t") == [("x",), ("y",)]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("NAME", "", "the id of the D1 database"),
        ("PASSWORD", "", "the token of the relay or of the API"),
        ("OPTIONS", {"transport": "pigeon"}, "'pigeon'. Set it to 'relay' or 'rest'"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(d1, setting, value, message):
    d1.settings_dict[setting] = value
    with pytest.raises(ImproperlyConfigured, match=message):
        d1.get_connection_params()


def test_ddl_inside_a_block_is_refused_as_on_other_databases_that_cannot_undo_it(table):
    with (
        pytest.raises(TransactionManagementError, match="can't perform a rollback"),
        transaction.atomic("d1"),
        table.schema_editor() as editor,
    ):
        editor.execute("CREATE TABLE u (id integer)")
    with do_bridge.batch("d1"), table.schema_editor() as editor:
        editor.execute("CREATE TABLE u (id integer)")
    assert table.introspection.table_names() == ["t", "u"]


# Test databases


def named(connection, **settings):
    """The connection with a configured NAME, as before create_test_db(), and TEST settings."""
    connection.close()
    connection.settings_dict["NAME"] = CONFIGURED
    connection.settings_dict["TEST"].update(settings)
    return connection.creation


def test_without_a_test_database_the_run_is_refused(d1):
    with pytest.raises(ImproperlyConfigured, match=r"\['TEST'\]\['NAME'\] is not set"):
        named(d1).create_test_db(verbosity=0)


@pytest.mark.parametrize("change", [str, str.upper])
def test_the_configured_database_is_refused_as_a_test_database(d1, change):
    with pytest.raises(ImproperlyConfigured, match="is the id of a configured database"):
        named(d1, NAME=change(CONFIGURED)).create_test_db(verbosity=0)


def test_a_database_configured_by_an_engine_that_stands_on_this_one_is_refused_as_well(d1, monkeypatch):
    other = {**d1.settings_dict, "ENGINE": "project.own_d1", "NAME": UNUSED}
    monkeypatch.setitem(connections.settings, "other", other)
    with pytest.raises(ImproperlyConfigured, match="is the id of a configured database"):
        named(d1, NAME=UNUSED.upper()).create_test_db(verbosity=0)


def test_a_configured_database_is_not_reached_while_tests_run(d1):
    named(d1)
    with pytest.raises(ImproperlyConfigured, match="may not connect to the configured database"):
        run(d1, "SELECT 1")


def test_parallel_runs_need_a_database_for_each_process(d1):
    creation = named(d1, NAME=OWN, CLONES=[UNUSED])
    assert creation.get_test_db_clone_settings("1")["NAME"] == UNUSED
    assert d1.features.can_clone_databases
    with pytest.raises(ImproperlyConfigured, match="lists 1 and this is process 2"):
        creation.get_test_db_clone_settings("2")
    d1.settings_dict["TEST"]["CLONES"] = [CONFIGURED.upper()]
    with pytest.raises(ImproperlyConfigured, match="configured"):
        creation.get_test_db_clone_settings("1")


def test_emptying_drops_all_that_other_tools_made(engine):
    run(engine, "CREATE TABLE p (id integer PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE c (p integer REFERENCES p (id))",
        "CREATE TABLE x (id integer PRIMARY KEY, y integer REFERENCES y (id))",
        "CREATE TABLE y (id integer PRIMARY KEY, x integer REFERENCES x (id))",
        "CREATE VIEW v AS SELECT * FROM p", "CREATE TABLE _do_bridge_thing (id integer)",
        "CREATE VIRTUAL TABLE f USING fts5(text)", 'CREATE TABLE "with ""quotes" (id integer)',
        "CREATE TRIGGER tr AFTER INSERT ON p BEGIN INSERT INTO c VALUES (new.id); END",
        "INSERT INTO p DEFAULT VALUES", "INSERT INTO x VALUES (1, NULL)", "INSERT INTO y VALUES (1, 1)",
        "UPDATE x SET y = 1")  # fmt: skip
    engine.creation.empty(engine.settings_dict["NAME"])
    left = [name for (name,) in rows(engine, "SELECT name FROM sqlite_master")]
    assert [name for name in left if not name.startswith(("_cf_", "sqlite_", "__miniflare"))] == []


def test_emptying_d1_minds_keys_that_restrict(d1):
    run(d1, "CREATE TABLE a (id integer PRIMARY KEY)",
        "CREATE TABLE b (a integer REFERENCES a (id) ON DELETE RESTRICT)",
        "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)")  # fmt: skip
    d1.creation.empty(d1.settings_dict["NAME"])
    assert d1.introspection.table_names() == []


def test_a_test_database_is_emptied_migrated_switched_to_and_given_back(d1, settings):
    settings.INSTALLED_APPS = ["django.contrib.contenttypes"]
    settings.DATABASE_ROUTERS = []
    run(d1, "CREATE TABLE leftover (id integer)")
    creation = named(d1, NAME=OWN)
    creation.create_test_db(**django_compat.without_serialization(verbosity=0))
    assert d1.settings_dict["NAME"] == OWN
    assert d1.introspection.table_names() == ["django_content_type", "django_migrations"]
    creation.destroy_test_db(CONFIGURED, verbosity=0)
    assert d1.settings_dict["NAME"] == CONFIGURED
    creation.mark_as_test_database(OWN)
    with connections["d1"].creation.connect_to(OWN).cursor() as cursor:
        assert connections["d1"].introspection.table_names(cursor) == []
