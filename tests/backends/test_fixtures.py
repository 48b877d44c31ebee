"""loaddata in bulk: round trips, all or nothing, signals, natural keys, what a failure says."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.db.models.signals import m2m_changed, post_save, pre_save
from django.test import TestCase
from engine_aliases import alias_for
from fixture_files import contents, load, make_tables, record, write

from do_bridge import driver
from do_bridge.backends.remote_sqlite.fixtures import staging
from do_bridge.driver.transport import size_of
from do_bridge.management.commands import loaddata


@pytest.fixture
def depot(engine, settings):
    """The depot's models, with tables in the engine's database."""
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    make_tables(engine)
    from depot import models

    return models


@pytest.fixture
def loads(engine, depot, tmp_path):
    """loads(records): runs loaddata with a fixture of them, and returns what it wrote."""

    def run(records, **options):
        out = io.StringIO()
        path = write(tmp_path / "fixture.json", records)
        call_command("loaddata", str(path), database=engine.alias, stdout=out, **options)
        return out.getvalue()

    return run


@pytest.fixture
def requests(engine):
    """The requests of the engine's connection so far: a Call for each."""
    made = []
    engine.ensure_connection()

    def note(sender, connection, **kwargs):
        if connection.alias == engine.alias:
            connection.connection.on_call = made.append

    from django.db.backends.signals import connection_created

    connection_created.connect(note)
    note(None, engine)
    yield made
    connection_created.disconnect(note)


def names(engine, model):
    return list(model.objects.using(engine.alias).order_by("pk").values_list("name", flat=True))


def staging_tables(engine):
    with connections[engine.alias].cursor() as cursor:
        cursor.execute(staging.LISTED)
        return [name for (name,) in cursor.fetchall()]


def tags(count, size=0):
    return [record("tag", key, name=f"t{key}".ljust(size, "x")) for key in range(1, count + 1)]


def articles(count, **fields):
    return [record("article", key, title=f"a{key}", **fields) for key in range(1, count + 1)]


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


def test_a_large_fixture_travels_in_requests_of_two_megabytes(engine, depot, loads, requests, monkeypatch):
    sizes, run = [], driver.Connection.run

    def measured(self, statements):
        sizes.append(size_of(statements))
        return run(self, statements)

    monkeypatch.setattr(driver.Connection, "run", measured)
    loads(articles(3000, body="b" * 2000))
    assert max(sizes) < 2_200_000
    assert len(requests) == 1 + 4
    assert max(call.statements for call in requests) < 12
    assert depot.Article.objects.using(engine.alias).count() == 3000
    assert staging_tables(engine) == []


def test_large_values_and_many_links_of_one_object_travel_apart(engine, depot, loads, monkeypatch):
    monkeypatch.setattr(staging, "DIRECT", 10_000)
    monkeypatch.setattr("do_bridge.backends.remote_sqlite.queries.json_rows.PIECE_BYTES", 5_000)
    body = "b\x00" * 6_000
    loads([record("article", 1, title="t", body=body, tags=list(range(1, 2001))), *tags(2000)])
    article = depot.Article.objects.using(engine.alias).get(pk=1)
    assert article.body == body
    assert article.tags.count() == 2000
    loads([record("article", 1, title="t", body=body, tags=list(range(1, 1001)))])
    assert article.tags.count() == 1000
    assert staging_tables(engine) == []


def test_a_load_of_more_statements_than_d1_takes_is_refused_before_it(engine, depot, loads, monkeypatch):
    monkeypatch.setattr("do_bridge.backends.remote_sqlite.fixtures.load.STATEMENTS", 3)
    with pytest.raises(DatabaseError, match="statements in one batch, and D1 takes 3. Nothing was loaded"):
        loads([*tags(2), record("author", 1, name="a")])
    assert names(engine, depot.Tag) == []


# All or nothing


@pytest.mark.parametrize("size", [0, 45])
def test_a_failing_fixture_leaves_nothing_and_names_the_row(engine, depot, loads, monkeypatch, size):
    if size:
        monkeypatch.setattr(staging, "DIRECT", 1_000)
    before = contents(engine.alias)
    rows = [*tags(50, size), record("author", 1, name="a")]
    rows += [
        record("article", key, title="t", author=1, tags=[1, 2], number=key % 19) for key in range(1, 21)
    ]
    with pytest.raises(IntegrityError, match="UNIQUE") as caught:
        loads(rows)
    assert caught.match(r"Problem installing fixture '.*': Could not load depot.Article\(pk=20\): UNIQUE")
    assert contents(engine.alias) == before
    assert staging_tables(engine) == []


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


def test_an_interrupted_load_leaves_nothing(engine, depot, loads, monkeypatch):
    monkeypatch.setattr(staging, "DIRECT", 1_000)

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(staging.Staging, "last", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loads(tags(100, 45))
    assert names(engine, depot.Tag) == []
    assert staging_tables(engine) == []


# Staging tables


def left_by(process, began=10**10):
    return f"{staging.FIXTURE_TABLES}{began}_{staging._host()}_{process}_abcd"


def test_what_killed_loads_leave_is_dropped_by_the_next_and_a_running_one_stays(engine, depot, loads):
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    old = f"{staging.FIXTURE_TABLES}1000_00000000_1_abcd"
    elsewhere = f"{staging.FIXTURE_TABLES}{10**10}_00000000_1_abcd"
    running, failed = left_by(os.getppid()), left_by(os.getpid())
    with engine.cursor() as cursor:
        for name in (left_by(dead.pid), old, failed, elsewhere, running):
            cursor.execute(f'CREATE TABLE "{name}" (n INTEGER PRIMARY KEY, v)')
    loads(tags(2))
    assert staging_tables(engine) == sorted([elsewhere, running], key=staging_tables(engine).index)
    assert not [name for name in engine.introspection.table_names() if "fixture" in name]


def test_a_load_that_is_killed_leaves_no_row_and_its_table_goes_with_the_next(engine, depot, loads, tmp_path):
    path = write(tmp_path / "tags.json", tags(100, 45))
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "killed_loaddata.py"), str(path)],
        input=json.dumps({**engine.settings_dict, "PASSWORD": str(engine.settings_dict["PASSWORD"])}),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent.parent)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(engine, depot.Tag) == []
    assert len(staging_tables(engine)) == 1
    loads(tags(3))
    assert names(engine, depot.Tag) == ["t1", "t2", "t3"]
    assert staging_tables(engine) == []


def test_d1_takes_a_large_fixture_over_rest(local_worker, django_db_blocker, settings, tmp_path):
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    with django_db_blocker.unblock(), alias_for("d1", local_worker, "rest") as connection:
        make_tables(connection)
        from depot.models import Article

        rows = articles(1500, body='"é' * 700, tags=[1])
        assert load("d1", write(tmp_path / "f.json", [*rows, *tags(1)]))[1] == ""
        assert Article.tags.through.objects.using("d1").count() == 1500


@pytest.mark.parametrize("switch", [True, False])
def test_fixtures_of_a_test_case_are_there_for_each_test(engine, depot, tmp_path, settings, switch):
    path = str(write(tmp_path / "f.json", [record("article", 1, title="t", tags=[1]), *tags(3)]))
    engine.settings_dict["TEST"]["TRANSACTIONS"] = switch
    engine.creation.isolate()
    alias = engine.alias

    class Case(TestCase):
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
    monkeypatch.setattr(staging, "DIRECT", 1_000)
    barrier = threading.Barrier(2, timeout=60)
    take = staging.Staging.take

    def together(self, steps):
        take(self, steps)
        barrier.wait()

    monkeypatch.setattr(staging.Staging, "take", together)
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
    assert staging_tables(engine) == []


# Inside blocks


def test_a_load_in_an_open_block_belongs_to_it(durable_object, settings, tmp_path, monkeypatch):
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    make_tables(durable_object)
    from depot.models import Author, Tag

    monkeypatch.setattr(staging, "DIRECT", 1_000)
    with transaction.atomic("durable_object"):
        Author.objects.using("durable_object").create(name="ann")
        assert load(
            "durable_object",
            write(tmp_path / "bad.json", [*tags(50, 45), *tags(1), record("tag", 99, name="t1")]),
        )[1]
        assert names(durable_object, Tag) == []
        rows = [record("article", 1, title="t", author=["ann"], tags=[3]), *tags(50, 45)]
        assert load("durable_object", write(tmp_path / "good.json", rows))[1] == ""
        assert len(names(durable_object, Tag)) == 50
        # Keys are checked at once again.
        with pytest.raises(IntegrityError, match="FOREIGN KEY"), transaction.atomic("durable_object"):
            Author.objects.using("durable_object").create(name="x", boss_id=77)
        transaction.set_rollback(True, "durable_object")
    assert names(durable_object, Tag) == []
    assert names(durable_object, Author) == []
    assert staging_tables(durable_object) == []


# Signals


def test_signals_are_those_of_django(engine, depot, loads):
    heard = []

    def hear(signal, instance, **kwargs):
        kind = "pre" if signal is pre_save else "post"
        heard.append((kind, instance.name, kwargs["raw"], kwargs.get("created"), kwargs["using"]))

    def hear_links(instance, action, pk_set, reverse, model, using, **kwargs):
        heard.append((action, sorted(pk_set), reverse, model.__name__, using))

    loads([record("author", 1, name="a"), *tags(3), record("article", 1, title="t", tags=[1, 2])])
    for each in (pre_save, post_save):
        each.connect(hear, sender=depot.Author)
    m2m_changed.connect(hear_links, sender=depot.Article.tags.through)
    try:
        loads(
            [
                record("author", 1, name="A", boss=["b"]),
                record("author", 2, name="b"),
                record("article", 1, title="t", tags=[2, 3]),
            ]
        )
    finally:
        for each in (pre_save, post_save):
            each.disconnect(hear, sender=depot.Author)
        m2m_changed.disconnect(hear_links, sender=depot.Article.tags.through)
    alias = engine.alias
    saved = [each for each in heard if each[0] in ("pre", "post")]
    assert [each for each in saved if each[0] == "pre"] == [
        ("pre", "A", True, None, alias),
        ("pre", "b", True, None, alias),
        ("pre", "A", True, None, alias),
    ]
    assert [each for each in saved if each[0] == "post"] == [
        ("post", "A", True, False, alias),
        ("post", "b", True, True, alias),
        ("post", "A", True, False, alias),
    ]
    assert [each for each in heard if each not in saved] == [
        ("pre_remove", [1], False, "Tag", alias),
        ("post_remove", [1], False, "Tag", alias),
        ("pre_add", [3], False, "Tag", alias),
        ("post_add", [3], False, "Tag", alias),
    ]


def test_a_receiver_finds_the_rows_and_writes_its_own(engine, depot, loads):
    def follow(instance, created, using, **kwargs):
        if created:
            depot.Article.objects.using(using).create(title=instance.name, author=instance)

    post_save.connect(follow, sender=depot.Author)
    try:
        loads([record("author", key, name=f"n{key}") for key in range(1, 4)])
    finally:
        post_save.disconnect(follow, sender=depot.Author)
    titles = depot.Article.objects.using(engine.alias).order_by("pk").values_list("title", flat=True)
    assert list(titles) == ["n1", "n2", "n3"]


def test_a_long_block_for_receivers_is_announced_in_one_line(engine, depot, tmp_path, monkeypatch):
    monkeypatch.setattr(loaddata, "MANY", 3)
    heard, err, path = [], io.StringIO(), write(tmp_path / "f.json", tags(3))

    def hear(instance, **kwargs):
        heard.append((instance.pk, bool(err.getvalue())))

    post_save.connect(hear, sender=depot.Tag)
    try:
        call_command("loaddata", str(path), database=engine.alias, verbosity=0, stderr=err)
    finally:
        post_save.disconnect(hear, sender=depot.Tag)
    told = "Receivers of post_save run for these 3 objects inside one transaction of 'durable_object'."
    holds = engine.alias == "durable_object"
    assert heard == [(key, holds) for key in (1, 2, 3)]
    assert (err.getvalue().startswith(told), err.getvalue().count("\n")) == (holds, int(holds))


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
