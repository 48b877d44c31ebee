"""Rows that point at later ones: a transaction holds them, and without one they are refused at once."""

import pytest
from django.core import serializers
from django.db import DatabaseError, IntegrityError, models, transaction
from django.db.migrations.state import ModelState, ProjectState

FIELDS = [
    ("id", models.AutoField(primary_key=True)),
    ("name", models.CharField(max_length=20, unique=True)),
    ("boss", models.ForeignKey("bag.Person", models.CASCADE, null=True)),
]
CLUB_FIELDS = [
    ("id", models.AutoField(primary_key=True)),
    ("members", models.ManyToManyField("bag.Person")),
]


def make_models(connection):
    state = ProjectState()
    state.add_model(ModelState("bag", "Person", FIELDS))
    state.add_model(ModelState("bag", "Club", CLUB_FIELDS))
    made = state.apps.get_model("bag", "Person"), state.apps.get_model("bag", "Club")
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    return made


@pytest.fixture(autouse=True)
def no_routers(settings):
    """An object's own alias decides where it is written."""
    settings.DATABASE_ROUTERS = []


@pytest.fixture
def made(transactional):
    return make_models(transactional)


@pytest.fixture
def person(made):
    """A model whose rows point at each other, in a database with transactions."""
    return made[0]


def load(connection, rows):
    """Save (object, many-to-many relations), as Django's own loaddata does."""
    with transaction.atomic(connection.alias), connection.constraint_checks_disabled():
        for instance, relations in rows:
            serializers.base.DeserializedObject(instance, relations).save(using=connection.alias)


def load_people(connection, model, people):
    load(connection, [(model(id=key, name=name, boss_id=boss), {}) for key, name, boss in people])


def stored(connection, model):
    return list(model.objects.using(connection.alias).order_by("id").values_list("id", "name", "boss_id"))


def test_rows_may_point_at_later_ones_and_in_a_circle(transactional, person):
    people = [(1, "a", 2), (2, "b", 3), (3, "c", 1)]
    load_people(transactional, person, people)
    assert stored(transactional, person) == people


def test_rows_that_are_there_are_written_over(transactional, person):
    load_people(transactional, person, [(1, "a", None), (2, "b", None)])
    load_people(transactional, person, [(2, "B", 3), (3, "c", 2), (2, "again", 3)])
    assert stored(transactional, person) == [(1, "a", None), (2, "again", 3), (3, "c", 2)]


def test_many_to_many_relations_may_point_at_later_rows(transactional, made):
    person, club = made
    rows = [(club(id=1), {"members": [2, 1]}), (club(id=2), {"members": [2]})]
    people = [(person(id=key, name=f"p{key}", boss_id=3 - key), {}) for key in (1, 2)]
    load(transactional, rows + people)
    members = club.members.through.objects.using(transactional.alias).order_by("club_id", "person_id")
    assert list(members.values_list("club_id", "person_id")) == [(1, 1), (1, 2), (2, 2)]
    assert stored(transactional, person) == [(1, "p1", 2), (2, "p2", 1)]


def test_a_row_that_points_nowhere_leaves_nothing(transactional, person):
    with pytest.raises(IntegrityError, match="bag_person row 2|FOREIGN KEY"):
        load_people(transactional, person, [(1, "a", None), (2, "b", 99)])
    assert stored(transactional, person) == []


def test_reads_and_new_keys_between_rows_that_point_at_later_ones(transactional, person):
    alias = transactional.alias
    people = person.objects.using(alias)
    people.create(name="old")
    with transaction.atomic(alias), transactional.constraint_checks_disabled():
        first = people.create(id=5, name="first", boss_id=60)
        new = people.create(name="new", boss=first)
        assert people.get(name="new").boss_id == first.pk and people.count() == 3
        people.filter(name="old").delete()
        assert people.filter(name="first").update(name="renamed") == 1
        with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic(alias):
            person(id=77, name="x").save(force_update=True, using=alias)
        person(id=60, name="boss").save_base(raw=True, using=alias)
    assert sorted(stored(transactional, person)) == [
        (5, "renamed", 60),
        (new.pk, "new", 5),
        (60, "boss", None),
    ]


def test_on_d1_without_transactions_a_row_that_points_at_a_later_one_is_refused_at_once(d1):
    person, _ = make_models(d1)
    people = person.objects.using("d1")
    with (
        pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"),
        d1.constraint_checks_disabled(),
    ):
        people.create(id=1, name="a", boss_id=2)
    assert stored(d1, person) == []
    with d1.constraint_checks_disabled():
        # Each write goes out by itself, and is there for the next statement.
        first = people.create(name="a")
        assert people.get(name="a") == first
        person(id=first.pk, name="A").save(force_update=True, using="d1")
    assert stored(d1, person) == [(first.pk, "A", None)]


def test_a_schema_editor_drops_tables_in_any_order_while_keys_are_not_checked(engine):
    person, club = make_models(engine)
    person.objects.using(engine.alias).create(name="a")
    club.objects.using(engine.alias).create().members.add(1)
    with engine.schema_editor() as editor, engine.constraint_checks_disabled():
        for model in (person, club, club.members.through):
            editor.execute(f'DROP TABLE "{model._meta.db_table}"')
    assert engine.introspection.table_names() == []
