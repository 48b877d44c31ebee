"""Foreign keys with ON DELETE clauses (DB_CASCADE and its like): written, read, and safe in a rebuild."""

import pytest
from django.db import NotSupportedError, models
from django.db.migrations.state import ModelState
from test_schema import alter, create, make_apps, model_state, rows, run

from do_bridge import django_compat

pytestmark = pytest.mark.skipif(not django_compat.HAS_DB_ON_DELETE, reason="Django has it since 6.1.")

FILL = (
    "INSERT INTO zoo_parent (id, name) VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO zoo_child (id, parent_id, note) VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, NULL)",
    "INSERT INTO zoo_grandchild (id, child_id) VALUES (10, 1), (11, 3)",
)
ALL = (
    "SELECT c.id, c.parent_id, c.note, g.id FROM zoo_child c LEFT JOIN zoo_grandchild g ON g.child_id = c.id"
)
FILLED = [(1, 1, "x", 10), (2, 1, "y", None), (3, 2, None, 11)]


def family(action="DB_CASCADE", key=models.BigAutoField, more=()):
    on_delete = getattr(models, action)
    return make_apps(
        ModelState(
            "zoo", "Parent", [("id", key(primary_key=True)), ("name", models.CharField(max_length=20))]
        ),
        model_state(
            "Child",
            [
                ("parent", models.ForeignKey("zoo.Parent", on_delete, null=True, db_default=None)),
                ("note", models.TextField(null=True)),
                (
                    "size",
                    models.GeneratedField(
                        expression=models.functions.Length("note"),
                        output_field=models.IntegerField(),
                        db_persist=True,
                    ),
                ),
                *more,
            ],
        ),
        model_state("Grandchild", [("child", models.ForeignKey("zoo.Child", models.DB_CASCADE))]),
    )


def made(connection, action="DB_CASCADE"):
    apps = family(action)
    create(connection, apps, "Parent", "Child", "Grandchild")
    run(connection, *FILL)
    return apps


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ("DB_CASCADE", [(3, 2, None, 11)]),
        ("DB_SET_NULL", [(1, None, "x", 10), (2, None, "y", None), (3, 2, None, 11)]),
        ("DB_SET_DEFAULT", [(1, None, "x", 10), (2, None, "y", None), (3, 2, None, 11)]),
    ],
)
def test_the_database_deletes_or_changes_what_points_at_a_deleted_row(engine, action, left):
    apps = made(engine, action)
    parents = apps.get_model("zoo", "Parent").objects.using(engine.alias)
    assert parents.filter(pk=1).delete() == (1, {"zoo.Parent": 1})
    assert rows(engine, ALL + " ORDER BY c.id") == left


def test_the_clause_is_read_back(engine):
    made(engine)
    with engine.cursor() as cursor:
        relations = engine.introspection.get_relations(cursor, "zoo_child")
    assert relations == {"parent_id": ("id", "zoo_parent", models.DB_CASCADE)}


@pytest.mark.parametrize("action", ["DB_CASCADE", "DB_SET_NULL", "DB_SET_DEFAULT"])
def test_a_rebuild_keeps_the_rows_that_the_clause_would_delete_or_change(engine, action):
    apps = made(engine, action)
    alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert rows(engine, ALL + " ORDER BY c.id") == FILLED
    assert rows(engine, "SELECT id, name FROM zoo_parent ORDER BY id") == [(1, "a"), (2, "b")]
    assert rows(engine, "SELECT size FROM zoo_child ORDER BY id") == [(1,), (1,), (None,)]
    assert rows(engine, "SELECT name FROM sqlite_master WHERE name GLOB 'copy__*'") == []
    clauses = rows(engine, "SELECT \"table\", on_delete FROM pragma_foreign_key_list('zoo_child')")
    assert clauses == [("zoo_parent", action.removeprefix("DB_").replace("_", " "))]


def test_the_child_itself_is_rebuilt_with_its_clause_and_the_rows_below_it(engine):
    apps = made(engine)
    alter(engine, apps, "Child", "note", models.TextField(default="", null=True, unique=True))
    assert rows(engine, ALL + " ORDER BY c.id") == FILLED
    assert rows(engine, "SELECT on_delete FROM pragma_foreign_key_list('zoo_child')") == [("CASCADE",)]


def test_a_primary_keys_new_type_reaches_children_with_a_clause(engine):
    old = made(engine).get_model("zoo", "Parent")
    new = family(key=models.TextField).get_model("zoo", "Parent")
    with engine.schema_editor() as editor:
        editor.alter_field(old, old._meta.get_field("id"), new._meta.get_field("id"), strict=True)
    assert rows(engine, "SELECT id, typeof(parent_id) FROM zoo_child ORDER BY id") == [
        (1, "text"),
        (2, "text"),
        (3, "text"),
    ]
    assert rows(engine, "SELECT id, child_id FROM zoo_grandchild ORDER BY id") == [(10, 1), (11, 3)]


def test_an_unknown_child_still_makes_the_rebuild_refuse(engine):
    apps = made(engine)
    run(engine, "CREATE TABLE others (parent integer REFERENCES zoo_parent (id) ON DELETE CASCADE)")
    with pytest.raises(NotSupportedError, match=r"Rows of others \(CASCADE\) point at it"):
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert rows(engine, ALL + " ORDER BY c.id") == FILLED


def test_a_trigger_on_a_child_makes_the_rebuild_refuse_before_it_could_run(engine):
    apps = made(engine)
    run(
        engine,
        "CREATE TABLE seen (id integer)",
        "CREATE TRIGGER audit AFTER DELETE ON zoo_child BEGIN INSERT INTO seen VALUES (old.id); END",
    )
    with pytest.raises(NotSupportedError, match=r"would make triggers run \(audit\)"):
        alter(engine, apps, "Parent", "name", models.TextField(unique=True))
    assert rows(engine, ALL + " ORDER BY c.id") == FILLED
    assert rows(engine, "SELECT id FROM seen") == []


def test_a_column_with_a_clause_is_added_to_a_table_with_rows(engine):
    old = made(engine).get_model("zoo", "Child")
    second = models.ForeignKey("zoo.Parent", models.DB_CASCADE, null=True, related_name="+")
    new = family(more=[("second", second)]).get_model("zoo", "Child")
    with engine.schema_editor() as editor:
        editor.add_field(old, new._meta.get_field("second"))
    clauses = rows(engine, "SELECT \"from\", on_delete FROM pragma_foreign_key_list('zoo_child') ORDER BY 1")
    assert clauses == [("parent_id", "CASCADE"), ("second_id", "CASCADE")]
    assert rows(engine, ALL + " ORDER BY c.id") == FILLED
