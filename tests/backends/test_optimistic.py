"""Optimistic blocks on D1 as Django sees them: keys, flags, conflicts, batches, and what a view answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import BaseHandler
from django.core.management.color import no_style
from django.db import IntegrityError, OperationalError, connections, models
from django.db.models.functions import Now, Random
from django.db.transaction import atomic
from django.http import HttpResponse
from django.test import RequestFactory
from engine_aliases import alias_for, settings_for
from shelf import Author, Book, registry, tables

import do_bridge
from do_bridge import TransactionConflict, driver, retry_on_conflict
from do_bridge.backends.d1.base import DatabaseWrapper, OptimisticDatabaseWrapper
from do_bridge.conflicts import ConflictMiddleware


class Stamp(models.Model):
    label = models.TextField()
    at = models.DateTimeField(db_default=Now())
    chance = models.FloatField(db_default=Random())
    loud = models.GeneratedField(
        expression=models.functions.Upper("label"), output_field=models.TextField(), db_persist=True
    )

    class Meta:
        apps = registry
        app_label = "shelf"


@pytest.fixture
def using(optimistic: Any) -> Iterator[str]:
    with tables(optimistic) as alias:
        yield alias


@pytest.fixture
def other(using: str, local_worker: Any) -> Iterator[Any]:
    """Another connection to the same database."""
    connection = connections[using].copy()
    yield connection
    connection.close()


def elsewhere(other: Any, sql: str) -> None:
    with other.cursor() as cursor:
        cursor.execute(sql)


def test_the_option_decides_what_django_sees(local_worker: Any) -> None:
    values = settings_for("d1_optimistic", local_worker)
    wrapper = DatabaseWrapper(values, "a")
    assert type(wrapper) is OptimisticDatabaseWrapper and type(wrapper.copy("b")) is OptimisticDatabaseWrapper
    flags = (
        "supports_transactions",
        "uses_savepoints",
        "can_release_savepoints",
        "can_defer_constraint_checks",
    )
    assert all(getattr(wrapper.features, flag) for flag in flags)
    for mode in ("none", None):
        options = {"transport": "relay"} | ({"transactions": mode} if mode else {})
        plain = DatabaseWrapper(values | {"OPTIONS": options}, "a")
        assert type(plain) is DatabaseWrapper and not any(getattr(plain.features, flag) for flag in flags)
    wrong = DatabaseWrapper(values | {"OPTIONS": {"transactions": "real"}}, "a")
    with pytest.raises(ImproperlyConfigured, match="Set it to 'none' or 'optimistic'"):
        wrong.get_connection_params()


@pytest.mark.parametrize("transport", ["relay", "rest"])
def test_both_transports_have_blocks(local_worker: Any, django_db_blocker: Any, transport: str) -> None:
    with (
        django_db_blocker.unblock(),
        alias_for("d1_optimistic", local_worker, transport) as connection,
        tables(connection) as using,
    ):
        with atomic(using=using):
            author = Author.objects.using(using).create(name="a")
            author.name = "b"
            author.save(using=using)
            assert list(Author.objects.using(using).values_list("pk", "name")) == [(author.pk, "b")]
        with pytest.raises(ZeroDivisionError, match="undone"), atomic(using=using):
            Author.objects.using(using).all().delete()
            raise ZeroDivisionError("undone")
        assert Author.objects.using(using).get() == author


def test_two_blocks_that_insert_into_one_table_are_no_conflict(using: str, other: Any) -> None:
    with atomic(using=using):
        mine = [Author.objects.using(using).create(name=str(number)) for number in range(5)]
        elsewhere(other, "INSERT INTO shelf_author (name) VALUES ('other')")
        Author.objects.using(using).bulk_create([Author(name="x"), Author(name="y")])
        assert Author.objects.using(using).get(pk=mine[4].pk).name == "4"
    keys = list(Author.objects.using(using).values_list("pk", flat=True))
    assert len(keys) == len(set(keys)) == 8 and {author.pk for author in mine} < set(keys)


def test_keys_that_a_block_leaves_serve_the_next_ones(using: str) -> None:
    with atomic(using=using):
        for number in range(4):
            Author.objects.using(using).create(name=str(number))
    with pytest.raises(ZeroDivisionError, match="undone"), atomic(using=using):
        Author.objects.using(using).create(name="undone")
        raise ZeroDivisionError("undone")
    with driver.count_trips() as trips, atomic(using=using):
        kept = Author.objects.using(using).create(name="kept")
    assert (kept.pk, trips.count) == (6, 2)


def test_an_object_whose_insert_fails_has_no_key(using: str) -> None:
    author = Author(name=None)
    with atomic(using=using):
        with pytest.raises(IntegrityError, match="NOT NULL"), atomic(using=using):
            author.save(using=using)
        assert author.pk is None
        author.name = "now"
        author.save(using=using)
    assert Author.objects.using(using).get().pk == author.pk


def test_code_that_runs_before_an_insert_sees_an_object_without_a_key(
    using: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def pre_save(field: Any, instance: Any, add: bool) -> Any:
        seen.append(instance.pk)
        return instance.name

    monkeypatch.setattr(type(Author._meta.get_field("name")), "pre_save", pre_save)
    with atomic(using=using):
        author = Author.objects.using(using).create(name="new")
    assert (set(seen), author.pk) == ({None}, 1)


def test_an_object_that_is_created_twice_in_bulk_gets_two_rows(using: str) -> None:
    author = Author(name="twice")
    with atomic(using=using):
        Author.objects.using(using).bulk_create([author, author])
    assert list(Author.objects.using(using).values_list("pk", "name")) == [(1, "twice"), (2, "twice")]


def test_a_row_written_with_a_key_of_the_range_is_gone_round(using: str, other: Any) -> None:
    with atomic(using=using):
        for number in range(2):
            Author.objects.using(using).create(name=str(number))
    elsewhere(other, "INSERT INTO shelf_author (id, name) VALUES (3, 'by hand')")
    with atomic(using=using):
        assert Author.objects.using(using).create(name="next").pk > 3
        Author.objects.using(using).create(pk=50, name="own key")
        assert Author.objects.using(using).create(name="after").pk > 3


def test_an_emptied_database_begins_with_new_ranges(using: str) -> None:
    with atomic(using=using):
        for number in range(2):
            Author.objects.using(using).create(name=str(number))
    connection = connections[using]
    connection.ops.execute_sql_flush(
        connection.ops.sql_flush(no_style(), ["shelf_author"], reset_sequences=True)
    )
    with atomic(using=using):
        assert Author.objects.using(using).create(name="first").pk == 1


def test_what_the_database_makes_stays_as_it_was_returned(optimistic: Any) -> None:
    with optimistic.schema_editor() as editor:
        editor.create_model(Stamp)
    stamps = Stamp.objects.using(optimistic.alias)
    with atomic(using=optimistic.alias):
        made = [stamps.create(label="one"), *stamps.bulk_create([Stamp(label="two"), Stamp(label="three")])]
        assert [stamp.loud for stamp in made] == ["ONE", "TWO", "THREE"]
        told = [(stamp.pk, stamp.at, stamp.chance) for stamp in made]
        assert list(stamps.order_by("pk").values_list("pk", "at", "chance")) == told
    assert list(stamps.order_by("pk").values_list("pk", "at", "chance")) == told
    with optimistic.schema_editor() as editor:
        editor.delete_model(Stamp)


def test_a_conflict_is_an_operational_error_of_its_own_and_nothing_is_written(using: str, other: Any) -> None:
    author = Author.objects.using(using).create(name="a")
    with pytest.raises(TransactionConflict, match="Run the whole block again") as caught, atomic(using=using):
        read = Author.objects.using(using).get()
        Author.objects.using(using).create(name="new")
        elsewhere(other, "UPDATE shelf_author SET name = 'changed'")
        read.name += "!"
        read.save(using=using)
    assert isinstance(caught.value, OperationalError)
    assert list(Author.objects.using(using).values_list("pk", "name")) == [(author.pk, "changed")]


def test_a_conflicting_function_runs_again_until_it_gets_through(using: str, other: Any) -> None:
    Author.objects.using(using).create(name="0")
    runs: list[str] = []

    @retry_on_conflict(times=3)
    def count(word: str) -> int:
        with atomic(using=using):
            author = Author.objects.using(using).get()
            author.name = str(int(author.name) + 1)
            author.save(using=using)
            runs.append(word)
            if len(runs) < 3:
                elsewhere(other, f"UPDATE shelf_author SET name = '{len(runs) * 10}'")
        return int(author.name)

    assert (count("x"), runs) == (21, ["x", "x", "x"])
    runs.clear()

    @retry_on_conflict(times=1)
    def never() -> None:
        with atomic(using=using):
            Author.objects.using(using).get().delete()
            runs.append("x")
            elsewhere(other, f"UPDATE shelf_author SET name = 'again {len(runs)}'")

    with pytest.raises(TransactionConflict, match="Run the whole block again"):
        never()
    assert len(runs) == 2


def test_inside_an_open_block_a_function_runs_once(using: str, other: Any) -> None:
    Author.objects.using(using).create(name="0")
    runs = []

    @retry_on_conflict()
    def conflict() -> None:
        with atomic(using=using):
            runs.append(Author.objects.using(using).get())
            elsewhere(other, f"UPDATE shelf_author SET name = '{len(runs)}'")
            Author.objects.using(using).create(name="new")

    with pytest.raises(TransactionConflict, match="Run the whole block again"), atomic(using=using):
        conflict()
    assert len(runs) == 1
    with pytest.raises(TypeError, match="retry_on_conflict\\(\\)"):
        retry_on_conflict(conflict)


def test_a_coroutine_function_runs_again_too() -> None:
    runs = []

    @retry_on_conflict(times=2)
    async def work() -> str:
        runs.append(1)
        if len(runs) < 3:
            raise TransactionConflict("again")
        return "done"

    assert (asyncio.run(work()), len(runs)) == ("done", 3)


def test_under_atomic_requests_a_conflict_answers_503_with_retry_after(using: str, other: Any) -> None:
    connections.settings[using]["ATOMIC_REQUESTS"] = True
    Author.objects.using(using).create(name="a")

    def view(request: Any) -> HttpResponse:
        Author.objects.using(using).get()
        Author.objects.using(using).create(name="b")
        elsewhere(other, "UPDATE shelf_author SET name = 'c'")
        return HttpResponse("done")

    middleware = ConflictMiddleware(lambda request: HttpResponse())
    request = RequestFactory().get("/page")
    with pytest.raises(TransactionConflict, match="Run the whole block again") as caught:
        BaseHandler().make_view_atomic(view)(request)
    answer = middleware.process_exception(request, caught.value)
    assert answer is not None and (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert middleware.process_exception(request, ValueError()) is None
    assert Author.objects.using(using).count() == 1


def test_a_batch_alone_is_one_round_trip_and_inside_a_block_part_of_it(using: str) -> None:
    authors = Author.objects.using(using)
    with driver.count_trips() as trips, do_bridge.batch(using=using):
        for number in range(3):
            authors.create(name=str(number))
    assert (trips.count, authors.count()) == (1, 3)
    with pytest.raises(ZeroDivisionError, match="undone"), atomic(using=using):
        with do_bridge.batch(using=using):
            made = authors.create(name="batched")
            authors.filter(name="0").delete()
        assert made.pk is not None and authors.count() == 3
        raise ZeroDivisionError("undone")
    assert authors.count() == 3
    with atomic(using=using), do_bridge.batch(using=using):
        authors.create(name="kept")
        with pytest.raises(ZeroDivisionError, match="undone"), atomic(using=using):
            authors.create(name="undone")
            raise ZeroDivisionError("undone")
    assert set(authors.values_list("name", flat=True)) == {"0", "1", "2", "kept"}


def test_a_callback_after_the_commit_sees_the_rows_and_may_write(using: str, optimistic: Any) -> None:
    def write() -> None:
        Author.objects.using(using).create(name=str(Author.objects.using(using).count()))

    with atomic(using=using):
        Author.objects.using(using).create(name="a")
        optimistic.on_commit(write)
    assert set(Author.objects.using(using).values_list("name", flat=True)) == {"a", "1"}


def test_cascades_and_related_rows_work_in_a_block(using: str) -> None:
    with atomic(using=using):
        author = Author.objects.using(using).create(name="a")
        Book.objects.using(using).bulk_create([Book(author=author, rank=rank) for rank in range(10)])
        assert author.book_set.count() == 10
        Book.objects.using(using).filter(rank__lt=5).update(rank=models.F("rank") + 100)
        assert author.book_set.filter(rank__gte=100).count() == 5
        assert Book.objects.using(using).get_or_create(rank=9)[1] is False
        assert Book.objects.using(using).update_or_create(rank=9, defaults={"lent": True})[1] is False
        author.delete()
        assert Book.objects.using(using).count() == 0
    assert Author.objects.using(using).count() == 0


def test_threads_that_count_with_retries_lose_nothing(using: str) -> None:
    row = Book.objects.using(using).create(rank=0)
    failures: list[BaseException] = []

    @retry_on_conflict(times=100)
    def count() -> None:
        with atomic(using=using):
            book = Book.objects.using(using).get(pk=row.pk)
            book.rank += 1
            book.save(using=using)

    def work() -> None:
        try:
            for _ in range(5):
                count()
        except BaseException as error:
            failures.append(error)
        finally:
            connections[using].close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (failures, Book.objects.using(using).get().rank) == ([], 20)


def _raw(using: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute("INSERT INTO shelf_author (name) VALUES ('raw') RETURNING id")
        return [cursor.fetchone()[0]]


def _raw_with_lastrowid(using: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute("INSERT INTO shelf_author (name) VALUES ('raw')")
        return [cursor.lastrowid]


def _upsert(number: int) -> Any:
    def upsert(using: str) -> Any:
        rows = [Author(name=str(at)) for at in range(number)]
        options = {"update_conflicts": True, "unique_fields": ["pk"], "update_fields": ["name"]}
        Author.objects.using(using).bulk_create(rows, **options)
        return [row.pk for row in rows]

    return upsert


UNRESERVED = {
    "raw": _raw,
    "lastrowid": _raw_with_lastrowid,
    "one upsert": _upsert(1),
    "two upserts": _upsert(2),
}


@pytest.mark.parametrize("write", UNRESERVED.values(), ids=UNRESERVED)
def test_reserved_keys_and_those_of_the_counter_are_no_conflict_in_one_block(using: str, write: Any) -> None:
    def create() -> Any:
        return [Author.objects.using(using).create(name="created").pk]

    keys = []
    for _ in range(2):
        with atomic(using=using):
            keys += create() + write(using) + create() + create() + write(using) + create() + write(using)
    assert sorted(keys) == sorted(Author.objects.using(using).values_list("pk", flat=True))
    assert len(set(keys)) == len(keys)
