"""loaddata in bulk: round trips, all or nothing, natural keys, what a failure says."""

import gzip
import io
import json
import threading
import unittest

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connections
from django.db.models.signals import post_save, pre_save
from django.test import TestCase
from engine_aliases import alias_for
from fixture_files import articles, contents, load, make_tables, names, record, tags, write

from do_bridge.backends.remote_sqlite.fixtures import load as fixture_load
from do_bridge.testing import RestoreRows

ENGINES_BY_DAY = ("d1", "durable_object")

# Round trips


@pytest.mark.parametrize("count", [20, 200, 2000])
def test_a_small_fixture_is_one_request_whatever_its_rows(loads, requests, count):
    loads(tags(count))
    assert [(call.operation, call.error) for call in requests] == [("batch", None)]
    assert requests[0].changed >= count


@pytest.mark.parametrize("count", [20, 200])
def test_objects_before_those_that_they_point_at_are_one_request(engine, depot, loads, requests, count):
    early = articles(count, author=3, tags=[1, 2], body="b" * 500)
    authors = [record("author", key, name=f"n{key}", boss=11 - key) for key in range(1, 11)]
    loads([*early, *authors, *tags(20)])
    assert [call.operation for call in requests] == ["batch"]
    # The statements are those of four tables, and the check of the keys.
    assert requests[0].statements < 12
    assert depot.Article.tags.through.objects.using(engine.alias).count() == 2 * count


@pytest.mark.parametrize("count", [30, 300])
def test_natural_keys_cost_a_few_requests_whatever_their_number(engine, depot, loads, requests, count):
    depot.Author.objects.using(engine.alias).bulk_create(
        [depot.Author(name=f"n{number}") for number in range(count)]
    )
    requests.clear()
    rows = [record("article", title="t", author=[f"n{number}"]) for number in range(count)]
    loads([*rows, *(record("tag", name=f"t{number}") for number in range(count))])
    # Three authors and three tags by their own, the two tables, keys in growing reservations, the rows.
    assert len(requests) == {30: 13, 300: 15}[count]
    assert depot.Article.objects.using(engine.alias).exclude(author=None).count() == count


def test_a_fixture_of_several_megabytes_is_one_request(engine, depot, loads, requests):
    loads(articles(3000, body="b" * 2000))
    assert [call.operation for call in requests] == ["batch"]
    assert requests[0].statements < 12
    assert depot.Article.objects.using(engine.alias).count() == 3000


def test_a_fixture_beyond_one_request_loads_nothing_and_names_the_other_ways(engine, depot, loads):
    with pytest.raises(DatabaseError, match="Nothing was loaded. Load the fixture in several parts"):
        loads(articles(9000, body="b" * 2000))
    assert depot.Article.objects.using(engine.alias).count() == 0


def test_large_values_and_many_links_of_one_object_are_loaded(engine, depot, loads):
    body = "b\x00" * 6_000
    loads([record("article", 1, title="t", body=body, tags=list(range(1, 2001))), *tags(2000)])
    article = depot.Article.objects.using(engine.alias).get(pk=1)
    assert article.body == body
    assert article.tags.count() == 2000
    loads([record("article", 1, title="t", body=body, tags=list(range(1, 1001)))])
    assert article.tags.count() == 1000


def test_a_load_of_more_statements_than_d1_takes_is_refused_before_it(engine, depot, loads, monkeypatch):
    monkeypatch.setattr("do_bridge.backends.remote_sqlite.fixtures.load.STATEMENTS", 3)
    with pytest.raises(DatabaseError, match="statements in one batch, and D1 takes 3. Nothing was loaded"):
        loads([*tags(2), record("author", 1, name="a")])
    assert names(engine, depot.Tag) == []


# All or nothing


def test_a_failing_fixture_leaves_nothing_and_names_the_row(engine, depot, loads):
    before = contents(engine.alias)
    rows = [*tags(50), record("author", 1, name="a")]
    rows += [
        record("article", key, title="t", author=1, tags=[1, 2], number=key % 19) for key in range(1, 21)
    ]
    with pytest.raises(IntegrityError, match="UNIQUE") as caught:
        loads(rows)
    assert caught.match(r"Problem installing fixture '.*': Could not load depot.Article\(pk=20\): UNIQUE")
    assert contents(engine.alias) == before


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([record("author", 1, name="a", boss=9)], "The row in table 'depot_author' with primary key '1' has"),
        ([record("article", 1, title="t", tags=[7])], "The row in table 'depot_article_tags'"),
        (
            [record("coding", 1, coded="no")],
            "contains a value 'no' that does not have .* in depot_coded.code",
        ),
        ([record("tag", 1, name="a"), record("tag", 2)], r"Could not load depot.Tag\(pk=2\): .*"),
        ([record("tag", 1, name=None)], r"Could not load depot.Tag\(pk=1\): NOT NULL constraint failed"),
        ([record("article", 2**70, title="t")], "too large"),
        (
            [record("article", 3, title="t", body="b" * 2_000_001)],
            r"Could not load depot.Article\(pk=3\): A value",
        ),
    ],
)
def test_a_row_that_the_database_refuses(engine, depot, loads, rows, told):
    before = contents(engine.alias)
    if rows[-1]["fields"] == {}:
        rows = [*rows, record("tag", 3)]
        told = r"Could not load depot.Tag\(pk=3\): UNIQUE constraint failed: depot_tag.name"
    with pytest.raises((DatabaseError, OverflowError), match=told):
        loads(rows)
    assert contents(engine.alias) == before


def test_a_row_without_its_parent_and_a_parents_key_that_goes_leave_nothing(engine, depot, loads):
    loads([record("coded", 1, code="a"), record("coding", 1, coded="a")])
    before = contents(engine.alias)
    with pytest.raises(IntegrityError, match="'depot_bar' with primary key '5'"):
        loads([record("bar", 5, stars=1)])
    # The row that points at it is not in the fixture.
    with pytest.raises(IntegrityError, match="table 'depot_coding'"):
        loads([record("coded", 1, code="b")])
    assert contents(engine.alias) == before


def test_a_natural_key_that_nobody_has_leaves_nothing(engine, depot, loads):
    before = contents(engine.alias)
    with pytest.raises(Exception, match="Author matching query does not exist"):
        loads([*tags(5), record("article", title="t", author=["nobody"])])
    assert contents(engine.alias) == before
    # Nor has the key been used up that the article would have had.
    assert depot.Article.objects.using(engine.alias).create(title="t").pk == 1


def test_a_receiver_that_fails_leaves_nothing_in_an_object(durable_object, settings, tmp_path):
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    make_tables(durable_object)
    from depot.models import Tag

    def fail(**kwargs):
        raise ZeroDivisionError

    post_save.connect(fail, sender=Tag)
    try:
        told, error = load("durable_object", write(tmp_path / "f.json", tags(3)))
    finally:
        post_save.disconnect(fail, sender=Tag)
    assert error.startswith("ZeroDivisionError")
    assert names(durable_object, Tag) == []


def test_d1_takes_a_large_fixture_over_rest(local_worker, django_db_blocker, settings, tmp_path):
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    with django_db_blocker.unblock(), alias_for("d1", local_worker, "rest") as connection:
        make_tables(connection)
        from depot.models import Article

        rows = articles(600, body='"é' * 1700, tags=[1])
        assert load("d1", write(tmp_path / "f.json", [*rows, *tags(1)]))[1] == ""
        assert Article.tags.through.objects.using("d1").count() == 600


@pytest.mark.parametrize("switch", [True, False])
def test_fixtures_of_a_test_case_are_there_for_each_test(engine, depot, tmp_path, settings, switch):
    path = str(write(tmp_path / "f.json", [record("article", 1, title="t", tags=[1]), *tags(3)]))
    engine.settings_dict["TEST"]["TRANSACTIONS"] = switch
    engine.creation.forget_rows()
    alias = engine.alias

    class Case(RestoreRows, TestCase):
        databases = {alias}
        fixtures = [path]

        def check(self):
            assert names(engine, depot.Tag) == ["t1", "t2", "t3"]
            assert depot.Article.objects.using(alias).get().tags.count() == 1
            depot.Tag.objects.using(alias).all().delete()

        test_one = test_two = check

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case)(result)
    assert [text for _, text in result.errors + result.failures] == []
    assert result.testsRun == 2
    if switch and engine.features.supports_transactions:
        assert names(engine, depot.Tag) == []


def test_two_loads_at_once_do_not_mix(engine, depot, tmp_path, monkeypatch):
    barrier = threading.Barrier(2, timeout=60)
    send = fixture_load.Load._send

    def together(self, steps):
        barrier.wait()
        send(self, steps)

    monkeypatch.setattr(fixture_load.Load, "_send", together)
    outcomes = {}

    def run(name):
        rows = [record("tag", name=f"{name}{number}") for number in range(60)]
        rows += [record("article", title=name, tags=[[f"{name}{number}"]]) for number in range(60)]
        outcomes[name] = load(engine.alias, write(tmp_path / f"{name}.json", rows))
        connections.close_all()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {error for _, error in outcomes.values()} == {""}
    for article in depot.Article.objects.using(engine.alias).prefetch_related("tags"):
        (tag,) = article.tags.all()
        assert tag.name.startswith(article.title)
    assert depot.Tag.objects.using(engine.alias).count() == 120


# Natural keys


def test_natural_keys_that_managers_compare_in_their_own_way(engine, depot, loads):
    loads([record("nick", 1, name="Ann"), record("nick", 2, name="Bob", after=["ANN"])])
    assert depot.Nick.objects.using(engine.alias).get(pk=2).after_id == 1


def test_rows_without_keys_write_over_those_with_their_natural_key(engine, depot, loads):
    loads([record("country", "a"), *(record("city", name=f"c{n}", country=["a"]) for n in range(50))])
    before = list(depot.City.objects.using(engine.alias).values_list("pk", "name"))
    loads([record("country", "a"), *(record("city", name=f"c{n}", country=["a"]) for n in range(60))])
    after = list(depot.City.objects.using(engine.alias).order_by("pk").values_list("pk", "name"))
    assert after[:50] == before
    assert len(after) == 60


def test_keys_that_are_given_out_meanwhile_stay_their_owners(engine, depot, loads):
    def meanwhile(instance, using, **kwargs):
        depot.Author.objects.using(using).create(name=f"of {instance.name}")

    pre_save.connect(meanwhile, sender=depot.Tag)
    try:
        loads([record("author", name="first"), record("tag", 1, name="t"), record("author", name="second")])
    finally:
        pre_save.disconnect(meanwhile, sender=depot.Tag)
    assert sorted(names(engine, depot.Author)) == ["first", "of t", "second"]


# What stays Django's


def test_formats_compression_standard_input_exclusion_and_unknown_fields(
    engine, depot, tmp_path, monkeypatch, loads
):
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(tags(2)).encode()))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, tags(4)[2:])))
    out = io.StringIO()
    call_command("loaddata", str(packed), str(tmp_path / "lines.jsonl"), database=engine.alias, stdout=out)
    assert out.getvalue() == "Installed 4 object(s) from 2 fixture(s)\n"
    xml = '<django-objects><object model="depot.article"><field name="title">x</field><field name="tags">'
    xml += "<object><natural>t3</natural></object></field></object></django-objects>"
    monkeypatch.setattr("sys.stdin", io.StringIO(xml))
    call_command("loaddata", "-", format="xml", database=engine.alias, verbosity=0)
    article = depot.Article.objects.using(engine.alias).get()
    assert [tag.pk for tag in article.tags.all()] == [3]
    rows = [record("author", 1, name="a", gone=1), record("tag", 9, name="t9")]
    told = loads(rows, exclude=["depot.tag"], ignore=True)
    assert told == "Installed 1 object(s) (of 2) from 1 fixture(s)\n"
    assert names(engine, depot.Tag) == ["t1", "t2", "t3", "t4"]


def test_a_model_that_counts_its_rows_is_loaded_as_django_does(engine, depot, loads):
    loads([record("article", 1, title="t"), *(record("line", key, article=1) for key in (3, 1, 2))])
    assert list(depot.Line.objects.using(engine.alias).values_list("pk", "_order")) == [
        (3, 0),
        (1, 1),
        (2, 2),
    ]


def test_a_fixture_without_objects_asks_nothing(engine, loads, requests):
    with pytest.warns(RuntimeWarning, match="No fixture data found"):
        loads([])
    assert requests == []


def test_a_fixture_that_is_not_there_is_an_error_of_one_line(engine, depot):
    with pytest.raises(CommandError, match="No fixture named 'nosuch' found"):
        call_command("loaddata", "nosuch", database=engine.alias)
