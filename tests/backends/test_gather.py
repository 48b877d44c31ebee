"""gather(): several querysets, of one or of several databases, in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import Count, Max, Prefetch
from shelf import Author, Book, stock_tables, tables

import do_bridge
from do_bridge import driver


@pytest.fixture
def alias(engine: Any) -> Iterator[str]:
    with tables(engine) as using:
        if using == "d1_optimistic":
            # A database's first commit makes the table of idempotency keys.
            with transaction.atomic(using=using):
                Author.objects.using(using).create(pk=1).delete()
        yield using


@pytest.fixture
def both(d1: Any, durable_object: Any) -> Iterator[tuple[str, str]]:
    """The aliases of a D1 database and of an object, both with tables and a book each."""
    with tables(d1) as one, tables(durable_object) as two:
        for name in (one, two):
            Book.objects.using(name).create(text=name)
        yield one, two


def fill(alias: str) -> None:
    authors = Author.objects.using(alias).bulk_create([Author(name=name) for name in ("a", "b")])
    Book.objects.using(alias).bulk_create(
        [Book(author=author, rank=rank) for author in authors for rank in (1, 2)]
    )


def trips_of(work: Any) -> tuple[int, Any]:
    with driver.count_trips() as trips:
        value = work()
    return trips.count, value


def test_querysets_and_methods_take_one_trip(alias: str) -> None:
    fill(alias)
    books, authors = Book.objects.using(alias).order_by("pk"), Author.objects.using(alias)
    reads = [
        books,
        authors.count,
        books.filter(rank=9).exists,
        books.first,
        books.last,
        partial(authors.get, name="b"),
        partial(books.aggregate, most=Max("rank"), all=Count("*")),
        partial(authors.in_bulk, field_name="id"),
        partial(books.latest, "rank"),
        books.values_list("rank", flat=True),
        authors.none(),
    ]
    trips, found = trips_of(lambda: do_bridge.gather(*reads))
    assert trips == 1
    rows, count, exists, first, last, author, numbers, by_key, latest, ranks, none = found
    assert ([book.rank for book in rows], count, exists) == ([1, 2, 1, 2], 2, False)
    assert (first.rank, last.rank, author.name, latest.rank) == (1, 2, "b", 2)
    assert (numbers, len(by_key), ranks, none) == ({"most": 2, "all": 4}, 2, [1, 2, 1, 2], [])


def test_the_rows_stay_in_the_queryset(alias: str) -> None:
    fill(alias)
    books, authors = Book.objects.using(alias).all(), Author.objects.using(alias).all()
    found = do_bridge.gather(books, authors)
    trips, _ = trips_of(lambda: (len(books), list(authors), books[0], bool(authors)))
    assert trips == 0
    assert found[0][0] is books[0]


def test_d1_and_an_object_take_one_trip(both: tuple[str, str]) -> None:
    one, two = both
    trips, found = trips_of(
        lambda: do_bridge.gather(Book.objects.using(one).get, Book.objects.using(two).get)
    )
    assert trips == 1
    assert [(book.text, book._state.db) for book in found] == [(one, one), (two, two)]


def test_another_engine_is_read_by_itself(both: tuple[str, str]) -> None:
    with stock_tables() as stock:
        Book.objects.using(stock).create(text="stock")
        reads = [Book.objects.using(alias) for alias in (both[0], stock, both[1])]
        trips, found = trips_of(lambda: do_bridge.gather(*reads))
    assert trips == 1
    assert [[book.text for book in rows] for rows in found] == [[both[0]], ["stock"], [both[1]]]


def test_an_evaluated_queryset_is_not_read_again(alias: str) -> None:
    books = Book.objects.using(alias).all()
    list(books)
    trips, _ = trips_of(lambda: do_bridge.gather(books, Author.objects.using(alias)))
    assert trips == 1


def test_a_block_is_asked_once_and_sees_its_own_writes(alias: str) -> None:
    fill(alias)
    with transaction.atomic(using=alias):
        books = Book.objects.using(alias)
        trips, (rows, count) = trips_of(
            lambda: do_bridge.gather(books.all(), Author.objects.using(alias).count)
        )
        assert (trips, len(rows), count) == (1, 4, 2)
        books.filter(rank=1).delete()
        trips, (rows, count) = trips_of(lambda: do_bridge.gather(books.all(), books.count))
        assert (len(rows), count) == (2, 2)
        # After a write an optimistic block repeats it with each read.
        assert trips <= (4 if alias == "d1_optimistic" else 1)


def test_a_block_that_failed_refuses_as_ever(alias: str) -> None:
    if not connections[alias].features.supports_transactions:
        pytest.skip("D1 has no transactions in this mode")
    books = Book.objects.using(alias)
    with transaction.atomic(using=alias):
        transaction.set_rollback(True, using=alias)
        with pytest.raises(transaction.TransactionManagementError, match="until the end"):
            do_bridge.gather(books.all(), books.count)


def test_an_error_is_raised_with_the_name_of_its_argument(alias: str) -> None:
    fill(alias)
    books, authors = Book.objects.using(alias), Author.objects.using(alias).all()
    with pytest.raises(Author.DoesNotExist, match="does not exist") as caught:
        do_bridge.gather(books.count, partial(authors.get, name="nobody"), authors)
    assert caught.value.__notes__ == [
        "It was raised by argument 2 of gather(), get() of QuerySet of shelf.Author."
    ]
    # The others have their rows.
    assert trips_of(lambda: len(authors)) == (0, 2)


def test_an_error_of_the_database_is_djangos_and_concerns_one_read(alias: str) -> None:
    books = Book.objects.using(alias)
    broken = books.extra(where=["nowhere = 1"])
    authors = Author.objects.using(alias).all()
    with pytest.raises(OperationalError, match="no such column: nowhere") as caught:
        do_bridge.gather(authors, broken)
    assert "argument 2" in caught.value.__notes__[-1]
    assert trips_of(lambda: len(authors)) == (0, 0)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: Book.objects, "type Manager|Manager of shelf.Book"),
        (lambda: Book.objects.all().delete, r"delete\(\) of QuerySet of shelf\.Book as argument 1"),
        (lambda: Book.objects.create, r"create\(\) of Manager of shelf\.Book"),
        (lambda: partial(Book.objects.update, rank=1), r"update\(\) of Manager"),
        (lambda: 5, "an object of type int"),
        (lambda: len, "an object of type builtin_function_or_method"),
    ],
)
def test_only_what_reads_is_accepted(read: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        do_bridge.gather(read())


def test_nothing_is_no_trip() -> None:
    assert trips_of(do_bridge.gather) == (0, [])


def test_relations_of_a_level_take_one_trip(alias: str) -> None:
    fill(alias)
    authors = (
        Author.objects.using(alias)
        .order_by("pk")
        .prefetch_related(
            "book_set",
            Prefetch("book_set", Book.objects.using(alias).filter(rank=1), to_attr="firsts"),
            Prefetch("book_set", Book.objects.using(alias).filter(rank=2), to_attr="seconds"),
        )
    )
    books = Book.objects.using(alias).filter(author__name="a").prefetch_related("author__book_set")
    trips, (found, others) = trips_of(lambda: do_bridge.gather(authors, books))
    # The rows, their relations, and the second level.
    assert trips == 3
    trips, got = trips_of(
        lambda: [
            (len(a.book_set.all()), [b.rank for b in a.firsts], [b.rank for b in a.seconds]) for a in found
        ]
    )
    assert (trips, got) == (0, [(2, [1], [2])] * 2)
    assert trips_of(lambda: [len(book.author.book_set.all()) for book in others]) == (0, [2, 2])


def test_each_statement_is_logged_once(alias: str) -> None:
    connection = connections[alias]
    connection.force_debug_cursor = True
    before = len(connection.queries)
    do_bridge.gather(Book.objects.using(alias), Author.objects.using(alias).count)
    logged = [query["sql"] for query in connection.queries[before:]]
    connection.force_debug_cursor = False
    assert len(logged) == 2
    assert '"shelf_book"' in logged[0]
    assert "COUNT(*)" in logged[1]


def test_inside_a_batch_reads_do_not_see_what_waits(both: tuple[str, str]) -> None:
    books = Book.objects.using(both[0])
    with do_bridge.batch(both[0]):
        books.create(text="waits")
        assert do_bridge.gather(books.count, Book.objects.using(both[1]).count) == [1, 1]
    assert books.count() == 2


def test_an_unreachable_relay_is_one_error(both: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = connections[both[0]].connection.transport.pool

    def refuse(deadline: Any) -> Any:
        raise driver.OperationalError("The relay could not be reached", effect="none")

    monkeypatch.setattr(pool, "acquire", refuse)
    with pytest.raises(OperationalError, match="could not be reached") as caught:
        do_bridge.gather(*(Book.objects.using(alias) for alias in both))
    assert "argument 1" in caught.value.__notes__[-1]


def test_agather_does_it_in_asynchronous_code(both: tuple[str, str]) -> None:
    async def work() -> list[Any]:
        return await do_bridge.agather(*(Book.objects.using(alias).count for alias in both))

    # The connections belong to this thread.
    for alias in both:
        connections[alias].inc_thread_sharing()
    assert asyncio.run(work()) == [1, 1]
