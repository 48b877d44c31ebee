"""Altering tables on both engines: what other tables point at keeps its rows."""

import datetime
import decimal

import pytest
from django.db import IntegrityError, NotSupportedError, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import CompositePrimaryKey, F, UniqueConstraint
from django.db.models.functions import Lower

import do_bridge
from do_bridge import driver

ENGINES_BY_DAY = ("d1", "durable_object")

BIG = 9_007_199_254_740_993


def make_apps(*states):
    """Historical models, as migrations use them: they know of each other and of nothing else."""
    project = ProjectState()
    for state in states:
        project.add_model(state)
    return project.apps


def model_state(name, fields, **options):
    return ModelState("zoo", name, [("id", models.BigAutoField(primary_key=True)), *fields], options)


def parent_and_child(name_field=None, child_field=None):
    return make_apps(
        model_state("Parent", [("name", name_field or models.CharField(max_length=20))]),
        model_state("Child", [("parent", child_field or models.ForeignKey("zoo.Parent", models.CASCADE))]),
    )


def create(connection, apps, *names):
    with connection.schema_editor() as editor:
        for name in names:
            editor.create_model(apps.get_model("zoo", name))


def rows(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def run(connection, *statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def alter(connection, apps, model_name, field_name, new_field, strict=True):
    model = apps.get_model("zoo", model_name)
    new_field.set_attributes_from_name(field_name)
    new_field.model = model
    with connection.schema_editor() as editor:
        editor.alter_field(model, model._meta.get_field(field_name), new_field, strict=strict)


def fill(connection):
    run(
        connection,
        "INSERT INTO zoo_parent (id, name) VALUES (1, 'one'), (2, 'two'), (9, 'gone')",
        "DELETE FROM zoo_parent WHERE id = 9",
        "INSERT INTO zoo_child (id, parent_id) VALUES (1, 1), (2, 1), (3, 2)",
    )


CHILDREN = "SELECT id, parent_id FROM zoo_child ORDER BY id"


def test_foreign_keys_are_immediate(engine):
    create(engine, parent_and_child(), "Parent", "Child")
    assert "DEFERR" not in "".join(sql for (sql,) in rows(engine, "SELECT sql FROM sqlite_master") if sql)
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
        run(engine, "INSERT INTO zoo_child (parent_id) VALUES (77)")


def test_foreign_keys_cannot_be_switched_off_by_hand(engine):
    create(engine, parent_and_child(), "Parent", "Child")
    run(engine, "PRAGMA foreign_keys = off")
    with transaction.atomic(engine.alias):
        run(engine, "PRAGMA foreign_keys = off")
    with engine.schema_editor() as editor:
        editor.execute("PRAGMA foreign_keys = off")
    assert rows(engine, "PRAGMA foreign_keys") == [(1,)]
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
        run(engine, "INSERT INTO zoo_child (parent_id) VALUES (77)")


def test_checks_cannot_be_switched_off_for_all_who_come_later(engine):
    run(engine, "CREATE TABLE positive (number integer CHECK (number > 0))")
    with pytest.raises(NotSupportedError, match="PRAGMA ignore_check_constraints would stay switched on"):
        run(engine, "PRAGMA ignore_check_constraints = on")
    with pytest.raises(IntegrityError, match="CHECK constraint failed"):
        run(engine, "INSERT INTO positive VALUES (-1)")


def test_altering_a_table_keeps_the_rows_that_point_at_it(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert rows(engine, "SELECT id, name FROM zoo_parent ORDER BY id") == [(1, "one"), (2, "two")]
    assert rows(engine, CHILDREN) == [(1, 1), (2, 1), (3, 2)]
    assert rows(engine, "PRAGMA foreign_key_check") == []
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
        run(engine, "DELETE FROM zoo_parent WHERE id = 1")


def test_a_rebuild_is_one_round_trip_on_d1_and_three_in_an_objects_transaction(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    with driver.count_trips() as trips:
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert trips.count == (1 if engine.alias.startswith("d1") else 3)


def test_keys_of_deleted_rows_are_not_given_out_again_after_a_rebuild(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    run(engine, "INSERT INTO zoo_parent (name) VALUES ('next')")
    assert rows(engine, "SELECT id FROM zoo_parent WHERE name = 'next'") == [(10,)]


def test_a_primary_keys_new_type_reaches_the_columns_that_point_at_it(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    old = apps.get_model("zoo", "Parent")
    new_apps = make_apps(
        ModelState(
            "zoo",
            "Parent",
            [
                ("id", models.CharField(max_length=9, primary_key=True)),
                ("name", models.CharField(max_length=20)),
            ],
        ),
        model_state("Child", [("parent", models.ForeignKey("zoo.Parent", models.CASCADE))]),
    )
    new = new_apps.get_model("zoo", "Parent")
    with engine.schema_editor() as editor:
        editor.alter_field(old, old._meta.get_field("id"), new._meta.get_field("id"), strict=True)
    assert rows(engine, "SELECT id, typeof(id) FROM zoo_parent ORDER BY id") == [("1", "text"), ("2", "text")]
    assert rows(engine, "SELECT parent_id, typeof(parent_id) FROM zoo_child ORDER BY id") == [
        ("1", "text"),
        ("1", "text"),
        ("2", "text"),
    ]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT"])
def test_a_child_with_an_on_delete_clause_in_sql_makes_the_rebuild_refuse(engine, action):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    run(
        engine,
        "CREATE TABLE others (id integer PRIMARY KEY, "
        f"parent integer REFERENCES ZOO_Parent (id) ON DELETE {action})",
        "INSERT INTO others VALUES (1, 1), (2, 2)",
    )
    before = rows(engine, "SELECT name, sql FROM sqlite_master ORDER BY name")
    with pytest.raises(NotSupportedError, match=rf"Rows of others \({action}\) point at it"):
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    with pytest.raises(NotSupportedError, match="(?i)nothing was changed"), engine.schema_editor() as editor:
        editor.delete_model(apps.get_model("zoo", "Parent"))
    assert rows(engine, "SELECT id, parent FROM others") == [(1, 1), (2, 2)]
    assert rows(engine, CHILDREN) == [(1, 1), (2, 1), (3, 2)]
    assert rows(engine, "SELECT name, sql FROM sqlite_master ORDER BY name") == before


def test_a_rebuild_that_is_refused_says_why_at_the_end_of_a_batch_too(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    run(engine, "CREATE TABLE others (parent integer REFERENCES zoo_parent (id) ON DELETE CASCADE)")
    with pytest.raises(NotSupportedError, match=r"Rows of others \(CASCADE\)"), do_bridge.batch(engine.alias):
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))


def test_dropping_a_table_that_rows_point_at_names_them_and_changes_nothing(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    with (
        pytest.raises(IntegrityError, match="zoo_child row 1 to zoo_parent"),
        engine.schema_editor() as editor,
    ):
        editor.delete_model(apps.get_model("zoo", "Parent"))
    assert rows(engine, CHILDREN) == [(1, 1), (2, 1), (3, 2)]
    assert len(rows(engine, "SELECT id FROM zoo_parent")) == 2


def test_a_parent_may_be_dropped_before_its_child_in_one_block(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    with engine.schema_editor() as editor:
        editor.delete_model(apps.get_model("zoo", "Parent"))
        editor.delete_model(apps.get_model("zoo", "Child"))
    assert engine.introspection.table_names() == []


def test_a_table_that_points_at_itself_is_rebuilt_with_its_rows(engine):
    apps = make_apps(
        model_state(
            "Node",
            [
                ("up", models.ForeignKey("zoo.Node", models.CASCADE, null=True)),
                ("name", models.CharField(max_length=9)),
            ],
        )
    )
    create(engine, apps, "Node")
    run(
        engine,
        "INSERT INTO zoo_node (id, name, up_id) VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 2)",
        "UPDATE zoo_node SET up_id = 3 WHERE id = 1",
    )
    alter(engine, apps, "Node", "name", models.TextField(null=True))
    assert rows(engine, "SELECT id, up_id FROM zoo_node ORDER BY id") == [(1, 3), (2, 1), (3, 2)]
    assert rows(engine, "SELECT \"table\" FROM pragma_foreign_key_list('zoo_node')") == [("zoo_node",)]


def test_values_pass_a_rebuild_unchanged(engine):
    apps = make_apps(
        model_state(
            "Thing",
            [
                ("whole", models.BigIntegerField()),
                ("number", models.DecimalField(max_digits=9, decimal_places=2)),
                ("real", models.FloatField()),
                ("data", models.BinaryField()),
                ("text", models.TextField()),
            ],
        )
    )
    create(engine, apps, "Thing")
    run(
        engine,
        f"INSERT INTO zoo_thing VALUES (1, {BIG}, 'no number', 5.0, X'00FF', CAST(X'610062' AS TEXT))",
        f"INSERT INTO zoo_thing VALUES (2, {-BIG}, 1.10, 1e300, X'', '5')",
    )
    sql = (
        "SELECT CAST(whole AS TEXT), typeof(whole), number, typeof(number), typeof(real), real, hex(data), "
        "typeof(data), hex(text), typeof(text) FROM zoo_thing ORDER BY id"
    )
    before = rows(engine, sql)
    alter(engine, apps, "Thing", "text", models.TextField(null=True))
    assert rows(engine, sql) == before
    assert before[0][:4] == (str(BIG), "integer", "no number", "text")


def test_a_new_column_takes_any_default_that_a_field_may_have(engine):
    apps = make_apps(model_state("Thing", [("name", models.CharField(max_length=9))]))
    create(engine, apps, "Thing")
    run(engine, "INSERT INTO zoo_thing (name) VALUES ('x')")
    model = apps.get_model("zoo", "Thing")
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    defaults = {
        "quoted": (models.TextField(default='it\'s 100%s %% "q"'), 'it\'s 100%s %% "q"'),
        "bytes_": (models.BinaryField(default=b"\x00\xff'"), b"\x00\xff'"),
        "number": (
            models.DecimalField(max_digits=9, decimal_places=2, default=decimal.Decimal("1.25")),
            1.25,
        ),
        "flag": (models.BooleanField(default=True), 1),
        "minus": (models.BigIntegerField(default=-BIG), -BIG),
        "real": (models.FloatField(default=0.1), 0.1),
        "when": (models.DateTimeField(default=moment), "2026-01-02 03:04:05.678901"),
        "day": (models.DateField(default=moment.date()), "2026-01-02"),
        "long": (models.DurationField(default=datetime.timedelta(days=1)), 86_400_000_000),
        "maybe": (models.TextField(null=True, default=None), None),
    }
    for name, (field, _) in defaults.items():
        field.set_attributes_from_name(name)
        field.model = model
        with engine.schema_editor() as editor:
            editor.add_field(model, field)
        field.contribute_to_class(model, name)
    columns = ", ".join(f'"{field.column}"' for field, _ in defaults.values())
    assert rows(engine, f"SELECT {columns} FROM zoo_thing") == [
        tuple(value for _, value in defaults.values())
    ]


def test_a_text_with_a_nul_and_an_infinite_float_become_literals_that_store_them(engine):
    editor = engine.SchemaEditorClass(engine)
    nul, high, low, nan = (
        editor.quote_value(v) for v in ("a\0'b", float("inf"), float("-inf"), float("nan"))
    )
    sql = f"SELECT hex({nul}), {high} > 1e308, {low} < -1e308, {nan} IS NULL"
    assert rows(engine, sql) == [("61002762", 1, 1, 1)]
    with pytest.raises(ValueError, match="value of type set can't be written as an SQL literal"):
        editor.quote_value(set())


def test_generated_columns_database_defaults_and_indexes_survive_a_rebuild(engine):
    apps = make_apps(
        model_state(
            "Thing",
            [
                ("a", models.IntegerField(db_default=7)),
                ("name", models.CharField(max_length=20)),
                (
                    "twice",
                    models.GeneratedField(
                        expression=F("a") * 2, output_field=models.IntegerField(), db_persist=True
                    ),
                ),
            ],
            indexes=[
                models.Index(fields=["a"], name="thing_a"),
                models.Index(Lower("name"), name="thing_lower"),
            ],
            constraints=[
                models.CheckConstraint(condition=models.Q(a__gt=-5), name="thing_positive"),
                UniqueConstraint(Lower("name"), name="thing_unique_lower"),
            ],
        )
    )
    create(engine, apps, "Thing")
    run(engine, "INSERT INTO zoo_thing (name) VALUES ('One')")
    alter(engine, apps, "Thing", "name", models.TextField())
    run(engine, "INSERT INTO zoo_thing (a, name) VALUES (3, 'Two')")
    assert rows(engine, "SELECT a, twice, name FROM zoo_thing ORDER BY id") == [(7, 14, "One"), (3, 6, "Two")]
    for wrong in ("(a, name) VALUES (-9, 'x')", "(name) VALUES ('oNE')"):
        with pytest.raises(IntegrityError, match="(CHECK|UNIQUE) constraint failed"):
            run(engine, f"INSERT INTO zoo_thing {wrong}")
    with engine.cursor() as cursor:
        found = engine.introspection.get_constraints(cursor, "zoo_thing")
    assert {"thing_a", "thing_lower", "thing_positive", "thing_unique_lower", "__primary__"} <= set(found)


def test_a_composite_primary_key_is_made_and_survives_a_rebuild(engine):
    apps = make_apps(
        ModelState(
            "zoo",
            "Line",
            [
                ("pk", CompositePrimaryKey("order", "number")),
                ("order", models.IntegerField()),
                ("number", models.IntegerField()),
                ("text", models.CharField(max_length=5)),
            ],
        )
    )
    create(engine, apps, "Line")
    run(engine, "INSERT INTO zoo_line (\"order\", number, text) VALUES (1, 1, 'a'), (1, 2, 'b')")
    alter(engine, apps, "Line", "text", models.TextField(null=True))
    with engine.cursor() as cursor:
        assert engine.introspection.get_primary_key_columns(cursor, "zoo_line") == ["order", "number"]
    assert len(rows(engine, "SELECT * FROM zoo_line")) == 2


def test_renaming_a_table_and_a_column_that_others_point_at_keeps_the_links(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    parent = apps.get_model("zoo", "Parent")
    with engine.schema_editor() as editor:
        editor.alter_db_table(parent, "zoo_parent", "zoo_elder")
    parent._meta.db_table = "zoo_elder"
    old = parent._meta.get_field("id")
    new = models.BigAutoField(primary_key=True, db_column="number")
    new.set_attributes_from_name("id")
    new.model = parent
    with engine.schema_editor() as editor:
        editor.alter_field(parent, old, new)
    assert rows(engine, 'SELECT "table", "to" FROM pragma_foreign_key_list(\'zoo_child\')') == [
        ("zoo_elder", "number")
    ]
    assert rows(engine, CHILDREN) == [(1, 1), (2, 1), (3, 2)]
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
        run(engine, "INSERT INTO zoo_child (parent_id) VALUES (77)")


def test_a_many_to_many_table_is_made_altered_and_dropped_with_its_field(engine):
    apps = make_apps(
        model_state("Tag", [("name", models.CharField(max_length=5))]),
        model_state("Page", [("tags", models.ManyToManyField("zoo.Tag"))]),
    )
    create(engine, apps, "Tag", "Page")
    run(
        engine,
        "INSERT INTO zoo_tag (id, name) VALUES (1, 't')",
        "INSERT INTO zoo_page (id) VALUES (1)",
        "INSERT INTO zoo_page_tags (page_id, tag_id) VALUES (1, 1)",
    )
    alter(engine, apps, "Tag", "name", models.TextField(unique=True))
    assert rows(engine, "SELECT page_id, tag_id FROM zoo_page_tags") == [(1, 1)]
    page = apps.get_model("zoo", "Page")
    with engine.schema_editor() as editor:
        editor.remove_field(page, page._meta.get_field("tags"))
    assert "zoo_page_tags" not in engine.introspection.table_names()


def test_a_failing_alteration_leaves_everything_as_it_was(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    fill(engine)
    run(engine, "UPDATE zoo_parent SET name = 'same'")
    before = rows(engine, "SELECT name, sql FROM sqlite_master ORDER BY name")
    with pytest.raises(IntegrityError, match="UNIQUE"):
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert rows(engine, "SELECT name, sql FROM sqlite_master ORDER BY name") == before
    assert rows(engine, CHILDREN) == [(1, 1), (2, 1), (3, 2)]


def test_a_statement_beyond_the_runtimes_limit_says_what_to_do(engine):
    with pytest.raises(NotSupportedError, match="accept 100,000"), engine.schema_editor() as editor:
        editor.execute(f"INSERT INTO t VALUES ('{'x' * 100_000}')")


def test_foreign_keys_are_still_on_after_the_editor(engine):
    apps = parent_and_child()
    create(engine, apps, "Parent", "Child")
    alter(engine, apps, "Parent", "name", models.TextField())
    assert rows(engine, "PRAGMA foreign_keys") == [(1,)]


def test_the_editor_can_show_its_sql_without_running_it(engine):
    with engine.schema_editor(collect_sql=True) as editor:
        editor.create_model(parent_and_child().get_model("zoo", "Parent"))
    assert editor.collected_sql[0].startswith('CREATE TABLE "zoo_parent"')
    assert engine.introspection.table_names() == []
