"""do_bridge.batch(): one atomic batch on D1, a transaction elsewhere."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    NotSupportedError,
    connections,
    models,
    transaction,
)
from django.db.migrations.state import ModelState, ProjectState

import do_bridge
from do_bridge import driver


def make_models():
    project = ProjectState()
    key = ("id", models.BigAutoField(primary_key=True))
    project.add_model(ModelState("bag", "Tag", [key, ("name", models.CharField(max_length=9, unique=True))]))
    project.add_model(ModelState("bag", "Item", [
        key, ("size", models.BigIntegerField(default=0)), ("tags", models.ManyToManyField("bag.Tag")),
    ]))  # fmt: skip
    return project.apps.get_model("bag", "Tag"), project.apps.get_model("bag", "Item")


@pytest.fixture(autouse=True)
def no_routers(settings):
    """An object's own alias decides where it is written."""
    settings.DATABASE_ROUTERS = []


@pytest.fixture
def tables(engine):
    made = make_models()
    with engine.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    return made


@pytest.fixture
def tags(engine, tables):
    """The tag manager of the engine under test."""
    return tables[0].objects.using(engine.alias)


@pytest.fixture
def d1_tables(d1):
    made = make_models()
    with d1.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    return made


@pytest.fixture
def d1_tags(d1, d1_tables):
    return d1_tables[0].objects.using("d1")


def names(tags):
    return list(tags.order_by("id").values_list("name", flat=True))


def test_writes_are_carried_out_together_at_the_end(engine, tags):
    with do_bridge.batch(engine.alias):
        one = tags.create(name="one")
        two, three = tags.bulk_create([tags.model(name="two"), tags.model(name="three")])
    assert (one.pk, two.pk, three.pk) == (1, 2, 3)
    assert not one._state.adding
    with do_bridge.batch(engine.alias):
        one.name = "uno"
        one.save()
        two.delete()
        tags.filter(name="three").update(name="tre")
    assert names(tags) == ["uno", "tre"]


def test_a_decorated_function_is_a_batch_in_whatever_thread_it_is_called(engine, tags):
    @do_bridge.batch(engine.alias)
    def write(fails):
        tags.create(name="one" if fails else "two")
        if fails:
            raise ZeroDivisionError

    def call():
        connection = connections[engine.alias]
        try:
            with pytest.raises(ZeroDivisionError, match="^$"):
                write(fails=True)
            write(fails=False)
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        pool.submit(call).result(timeout=60)
    assert names(tags) == ["two"]


def test_an_exception_inside_carries_nothing_out(engine, tags):
    with pytest.raises(ZeroDivisionError, match="^$"), do_bridge.batch(engine.alias):
        tags.create(name="one")
        raise ZeroDivisionError
    assert names(tags) == []


def test_one_statement_that_fails_undoes_all(engine, tags):
    tags.create(name="there")
    with pytest.raises(IntegrityError, match="UNIQUE"), do_bridge.batch(engine.alias):
        tags.create(name="new")
        tags.create(name="there")
    assert names(tags) == ["there"]


def test_a_batch_is_one_round_trip(d1, d1_tags):
    with driver.count_trips() as trips, do_bridge.batch("d1"):
        for number in range(50):
            d1_tags.create(name=str(number))
        d1_tags.filter(name="7").update(name="seven")
    assert trips.count == 1
    assert len(names(d1_tags)) == 50


def test_an_empty_batch_costs_no_trip(d1):
    with driver.count_trips() as trips, do_bridge.batch("d1"):
        pass
    assert trips.count == 0


def test_the_statement_that_fails_is_named_by_its_index(d1, d1_tags):
    d1_tags.create(name="there")
    with (
        pytest.raises(IntegrityError, match=r"^Statement 2 of the batch failed: UNIQUE") as caught,
        do_bridge.batch("d1"),
    ):
        for name in ("a", "b", "there", "c"):
            d1_tags.create(name=name)
    assert caught.value.__cause__.sqlite_code == "SQLITE_CONSTRAINT_UNIQUE"
    assert names(d1_tags) == ["there"]


def test_reads_inside_run_at_once_and_do_not_see_what_is_queued(d1, d1_tags):
    with do_bridge.batch("d1"):
        tag = d1_tags.create(name="queued")
        assert d1_tags.count() == 0
        assert tag.pk is None
    assert d1_tags.get().pk == tag.pk


def test_a_nested_batch_joins_the_outer_one(d1, d1_tags):
    with pytest.raises(ZeroDivisionError, match="^$"), do_bridge.batch("d1"):
        with do_bridge.batch("d1"):
            d1_tags.create(name="inner")
        raise ZeroDivisionError
    assert names(d1_tags) == []


def test_a_nested_batch_that_fails_is_carried_out_in_no_part(engine, tags):
    with do_bridge.batch(engine.alias):
        tags.create(name="kept")
        with pytest.raises(ZeroDivisionError, match="^$"), do_bridge.batch(engine.alias):
            tags.create(name="half")
            raise ZeroDivisionError
    assert names(tags) == ["kept"]


def test_a_block_that_fails_inside_takes_back_what_it_queued(d1, d1_tags):
    with do_bridge.batch("d1"):
        kept = d1_tags.create(name="kept")
        with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"):
            d1_tags.create(name="dropped")
            raise ZeroDivisionError
    assert names(d1_tags) == ["kept"]
    assert kept.pk == 1


def test_saving_a_row_that_is_not_there_fails_the_whole_batch(d1, d1_tags):
    with (
        pytest.raises(IntegrityError, match="Statement 1 of the batch changed no row"),
        do_bridge.batch("d1"),
    ):
        d1_tags.create(name="one")
        d1_tags.model(pk=77, name="nobody").save(using="d1")
    assert names(d1_tags) == []
    with do_bridge.batch("d1"):
        d1_tags.model(pk=77, name="somebody").save(using="d1", force_insert=True)
    assert names(d1_tags) == ["somebody"]


def test_an_update_that_matches_nothing_is_no_error(d1, d1_tags):
    with do_bridge.batch("d1"):
        count = d1_tags.filter(name="nobody").update(name="somebody")
        d1_tags.create(name="one")
    assert count == 0
    assert names(d1_tags) == ["one"]


def test_a_batch_in_which_an_update_was_taken_for_done_fails_where_it_finds_nothing(d1, d1_tags):
    known = d1_tags.create(name="known")
    with pytest.raises(IntegrityError, match="Statement 0 of the batch changed no row"):  # noqa: SIM117
        with do_bridge.batch("d1"):
            if d1_tags.filter(pk=known.pk, name="seen before").update(name="mine"):
                d1_tags.create(name="log of mine")
    assert names(d1_tags) == ["known"]
    with do_bridge.batch("d1"):
        if d1_tags.filter(pk=known.pk, name="known").update(name="mine"):
            d1_tags.create(name="log of mine")
            known.name = "ours"
            with pytest.raises(NotSupportedError, match="Read the result after the block"):
                bool(d1_tags.bulk_update([known], ["name"]))
    assert names(d1_tags) == ["ours", "log of mine"]


def test_counts_are_known_after_the_batch_and_refused_before(d1, d1_tags):
    d1_tags.bulk_create([d1_tags.model(name=str(number)) for number in range(5)])
    with do_bridge.batch("d1"):
        updated = d1_tags.filter(name__in=["1", "2"]).update(name=models.F("name"))
        deleted, by_model = d1_tags.filter(name="4").delete()
        with pytest.raises(NotSupportedError, match=r"inside batch\(\)"):
            int(updated)
        with pytest.raises(NotSupportedError, match="The result of this"):
            assert updated == 2
    assert (updated, deleted, int(by_model["bag.Tag"])) == (2, 1, 1)


def test_counts_compare_as_numbers_once_they_are_known(engine, tags):
    tags.bulk_create([tags.model(name=name) for name in "abc"])
    with do_bridge.batch(engine.alias):
        updated = tags.exclude(name="a").update(name=models.functions.Concat("name", models.Value("2")))
        deleted, _ = tags.filter(name="a").delete()
        if engine.alias == "d1":
            with pytest.raises(NotSupportedError, match=r"inside batch\(\)"):
                assert updated >= 1
    assert (updated >= 2, updated < 3, updated <= 1, updated > 1) == (True, True, False, True)
    assert (deleted >= 1, deleted < 1, deleted <= 1, deleted > 1) == (True, False, True, False)


def test_rows_of_a_raw_returning_are_refused_inside(d1, d1_tables):
    with do_bridge.batch("d1"), d1.cursor() as cursor:
        cursor.execute("INSERT INTO bag_tag (name) VALUES ('raw') RETURNING id")
        with pytest.raises(NotSupportedError, match="Read the result after the block"):
            cursor.fetchone()


def test_many_to_many_changes_join_the_batch(d1, d1_tables):
    tag_model, item_model = d1_tables
    tags = [tag_model.objects.using("d1").create(name=name) for name in "abc"]
    item = item_model.objects.using("d1").create()
    with do_bridge.batch("d1"):
        item.tags.add(*tags[:2])
        item_model.objects.using("d1").filter(pk=item.pk).update(size=5)
        assert item.tags.count() == 0
    assert item.tags.count() == 2
    with do_bridge.batch("d1"):
        item.tags.remove(tags[0])
    assert [tag.name for tag in item.tags.all()] == ["b"]


def test_get_or_create_and_update_or_create_work_inside(d1, d1_tags):
    d1_tags.create(name="there")
    with do_bridge.batch("d1"):
        there, created = d1_tags.get_or_create(name="there")
        made, was_made = d1_tags.get_or_create(name="new")
    assert (created, was_made, made.pk) == (False, True, 2)


@pytest.mark.parametrize("key", [models.AutoField, models.BigAutoField])
def test_the_row_of_a_child_model_is_not_given_to_another_parent(engine, key):
    project = ProjectState()
    name = ("name", models.CharField(max_length=9))
    project.add_model(ModelState("bag", "Place", [("id", key(primary_key=True)), name]))
    link = models.OneToOneField("bag.Place", models.CASCADE, primary_key=True, parent_link=True)
    project.add_model(ModelState("bag", "Cafe", [("place", link)], bases=("bag.place",)))
    place, cafe = (project.apps.get_model("bag", name) for name in ("Place", "Cafe"))
    with engine.schema_editor() as editor:
        editor.create_model(place)
        editor.create_model(cafe)
    place.objects.using(engine.alias).create(name="no cafe")
    if engine.alias == "d1":
        with pytest.raises(NotSupportedError, match="Cafe has no primary key"), do_bridge.batch("d1"):
            cafe.objects.using("d1").create(name="cafe")
        assert place.objects.using("d1").count() == 1
    with do_bridge.batch(engine.alias):
        cafe(pk=7, name="cafe").save(using=engine.alias, force_insert=(models.Model,))
    assert cafe.objects.using(engine.alias).values_list("pk", "name").get() == (7, "cafe")


def test_an_object_that_waits_for_its_key_is_not_inserted_twice(d1, d1_tables):
    items = d1_tables[1].objects.using("d1")
    with pytest.raises(NotSupportedError, match="has no primary key until its batch"), do_bridge.batch("d1"):
        item = items.create(size=1)
        item.size = 2
        item.save()
    assert items.count() == 0
    with pytest.raises(NotSupportedError, match="can't be saved again"), do_bridge.batch("d1"):
        items.bulk_create(items.bulk_create([items.model(), items.model()]))
    assert items.count() == 0


def test_copies_of_a_row_are_made_as_django_documents_it(engine, tables):
    items = tables[1].objects.using(engine.alias)
    item = items.create(size=5)
    with do_bridge.batch(engine.alias):
        for _ in range(2):
            item.pk, item._state.adding = None, True
            item.save()
    assert list(items.values_list("pk", "size").order_by("pk")) == [(1, 5), (2, 5), (3, 5)]
    assert item.pk == 3


def test_an_object_whose_insert_was_taken_back_may_be_written_again(d1, d1_tags):
    tag = d1_tags.model(name="one")
    with do_bridge.batch("d1"):
        with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic("d1"):
            tag.save(using="d1")
            raise ZeroDivisionError
        tag.save(using="d1")
    assert (tag.pk, names(d1_tags)) == (1, ["one"])


def test_on_commit_waits_for_the_batch_and_is_dropped_with_it(d1, d1_tags):
    calls = []
    with do_bridge.batch("d1"):
        tag = d1_tags.create(name="one")
        transaction.on_commit(lambda: calls.append(tag.pk), using="d1")
        assert calls == []
    assert calls == [1]
    with pytest.raises(IntegrityError, match="UNIQUE constraint failed"), do_bridge.batch("d1"):
        d1_tags.create(name="one")
        transaction.on_commit(lambda: calls.append("never"), using="d1")
    assert calls == [1]


def test_a_violated_foreign_key_fails_the_batch_cleanly(d1, d1_tables):
    through = d1_tables[1].tags.through.objects.using("d1")
    with (
        pytest.raises(IntegrityError, match="Statement 0 .* FOREIGN KEY"),
        do_bridge.batch("d1"),
    ):
        through.create(item_id=1, tag_id=99)
        d1_tables[0].objects.using("d1").create(name="x")
    assert d1_tables[0].objects.using("d1").count() == 0


def test_an_error_that_is_no_constraint_is_raised_at_the_end(d1, d1_tags):
    with pytest.raises(DatabaseError, match="no such table"), do_bridge.batch("d1"):
        d1_tags.create(name="one")
        with d1.cursor() as cursor:
            cursor.execute("INSERT INTO nowhere VALUES (1)")
    assert names(d1_tags) == []


def test_the_connection_works_as_before_after_a_batch_failed(d1, d1_tags):
    with pytest.raises(ZeroDivisionError, match="^$"), do_bridge.batch("d1"):
        raise ZeroDivisionError
    assert d1_tags.create(name="one").pk == 1


def test_a_block_marked_for_rollback_sends_nothing(engine, tags):
    with do_bridge.batch(engine.alias):
        tags.create(name="one")
        transaction.set_rollback(True, using=engine.alias)
    assert names(tags) == []


def test_importing_the_package_does_not_import_django():
    code = "import sys, do_bridge, do_bridge.driver; assert 'django' not in sys.modules; do_bridge.batch"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
