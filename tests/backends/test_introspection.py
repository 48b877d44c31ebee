"""Introspection: what stock sqlite3 says of the same schema, in one round trip for each question."""

import io
import sqlite3

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper

from do_bridge import driver
from do_bridge.backends.remote_sqlite.introspection import DatabaseIntrospection

ENGINES_BY_DAY = ("d1", "durable_object")

SCHEMA = [
    'CREATE TABLE "shop" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, '
    '"name" varchar(30) NOT NULL UNIQUE, '
    '"city" text NULL, "data" text NULL CHECK ((JSON_VALID("data") OR "data" IS NULL)), '
    "\"rank\" integer unsigned NOT NULL DEFAULT 3 CHECK (\"rank\" >= 0), "
    '"twice" integer GENERATED ALWAYS AS ("rank" * 2) STORED, CONSTRAINT "big" CHECK ("rank" < 900), '
    'CONSTRAINT "pair" UNIQUE ("name", "city"))',
    'CREATE TABLE "visit" ("id" integer NOT NULL PRIMARY KEY, '
    '"shop_id" bigint NOT NULL REFERENCES "shop" ("id"), '
    '"shop_name" varchar(30) NULL REFERENCES "shop" ("name"), "day" date NOT NULL, "price" decimal NOT NULL)',
    'CREATE INDEX "visit_day" ON "visit" ("day" DESC, "shop_id")',
    'CREATE UNIQUE INDEX "visit_once" ON "visit" ("shop_id", "day") WHERE "price" > 0',
    'CREATE INDEX "visit_lower" ON "visit" (lower("shop_name"))',
    'CREATE TABLE "line" ("shop" integer NOT NULL, "number" integer NOT NULL, "text" text, '
    'PRIMARY KEY ("shop", "number"))',
    "CREATE TABLE other_tools (\n  a INT,\n  b TEXT COLLATE RTRIM,\n  c DECIMAL(10, 2),\n  UNIQUE (a, b)\n)",
    'CREATE TABLE "plain" ("a" text NULL COLLATE NOCASE, "b" decimal NOT NULL)',
    'CREATE VIEW "seen" AS SELECT "id", "day" FROM "visit"',
]  # fmt: skip
TABLES = ["shop", "visit", "line", "other_tools", "plain"]


@pytest.fixture
def schema(engine):
    with engine.cursor() as cursor:
        for statement in SCHEMA:
            cursor.execute(statement)
    return engine


@pytest.fixture
def stock(tmp_path):
    """Django's own sqlite3 backend over the same schema in a file."""
    path = tmp_path / "stock.sqlite3"
    with sqlite3.connect(path) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
    connection.close()
    settings = {"NAME": str(path), "OPTIONS": {}, "TIME_ZONE": None, "AUTOCOMMIT": True, "CONN_MAX_AGE": 0,
                "CONN_HEALTH_CHECKS": False, "TEST": {}, "ENGINE": "", "USER": "", "HOST": "",
                "PORT": ""}  # fmt: skip
    wrapper = SQLiteWrapper(settings, "stock")
    # It would be asked through `connections`, which do not know this one.
    wrapper.features.supports_json_field = True
    yield wrapper
    wrapper.close()


def asked(connection, question, *arguments):
    with connection.cursor() as cursor:
        return getattr(connection.introspection, question)(cursor, *arguments)


@pytest.mark.parametrize("table", [*TABLES, "seen"])
@pytest.mark.parametrize("question", ["get_constraints", "get_relations", "get_primary_key_columns"])
def test_the_answer_is_stock_sqlite3s(schema, stock, question, table):
    ours, theirs = asked(schema, question, table), asked(stock, question, table)
    if question == "get_constraints":
        # sqlite3 numbers keys in the order of its PRAGMA; the number names nothing.
        ours, theirs = (sorted(map(repr, answer.values())) for answer in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize("table", ["shop", "visit", "line", "plain", "seen"])
def test_the_description_is_stock_sqlite3s(schema, stock, table):
    ours = asked(schema, "get_table_description", table)
    assert ours == asked(stock, "get_table_description", table)


def test_collations_and_types_of_other_tools_tables_are_read(schema):
    described = {column.name: column for column in asked(schema, "get_table_description", "other_tools")}
    assert [described[name].collation for name in "abc"] == [None, "RTRIM", None]
    assert described["c"].type_code == "DECIMAL(10, 2)"


def test_the_list_of_tables_shows_views_and_nothing_of_the_runtime(schema):
    with schema.cursor() as cursor:
        cursor.execute("CREATE TABLE d1_migrations (id integer)")
        cursor.execute("CREATE TABLE _do_bridge_notes (id integer)")
    listed = {(table.name, table.type) for table in asked(schema, "get_table_list")}
    assert listed == {*((name, "t") for name in TABLES), ("seen", "v")}
    with schema.cursor() as cursor:
        cursor.execute("DROP TABLE d1_migrations")


def test_names_of_constraints_are_kept(schema):
    names = set(asked(schema, "get_constraints", "shop")) | set(asked(schema, "get_constraints", "visit"))
    assert {"big", "pair", "visit_day", "visit_once", "visit_lower", "__primary__"} <= names
    assert asked(schema, "get_constraints", "visit")["visit_day"]["orders"] == ["DESC", "ASC"]


@pytest.mark.parametrize(
    "question",
    ["get_constraints", "get_relations", "get_primary_key_columns", "get_table_description", "get_sequences"],
)
def test_each_question_about_a_table_is_one_round_trip(schema, question):
    with driver.count_trips() as trips:
        asked(schema, question, "visit")
    assert trips.count == 1


def test_a_table_that_is_not_there_is_an_error(schema):
    with pytest.raises(DatabaseError, match="Table nowhere does not exist"):
        asked(schema, "get_table_description", "nowhere")


def test_a_quoted_name_is_found(schema):
    with schema.cursor() as cursor:
        cursor.execute('CREATE TABLE "it\'s" (a integer PRIMARY KEY)')
    assert asked(schema, "get_primary_key_columns", "it's") == ["a"]


def test_inspectdb_writes_models(schema):
    out = io.StringIO()
    call_command("inspectdb", *TABLES, database=schema.alias, stdout=out)
    text = out.getvalue()
    assert "shop = models.ForeignKey(Shop, models.DO_NOTHING)" in text
    assert "name = models.CharField(unique=True, max_length=30)" in text
    assert "pk = models.CompositePrimaryKey('shop', 'number')" in text
    assert "data = models.JSONField(blank=True, null=True)" in text
    assert "class OtherTools" in text
    assert "unable to" not in text.lower()


def test_it_stays_a_subclass_of_djangos(engine):
    assert isinstance(engine.introspection, DatabaseIntrospection)
    assert engine.introspection.data_types_reverse["varchar(9)"] == "CharField"
