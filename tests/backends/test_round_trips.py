"""How many round trips each operation takes, exactly: on the far side of a network they are what counts."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import prefetch_related_objects
from shelf import Author, Book, tables

from do_bridge import driver


@pytest.fixture
def alias(engine: Any) -> Iterator[str]:
    with tables(engine) as using:
        if using == "d1_optimistic":
            # A database's first commit makes the table of idempotency keys.
            with transaction.atomic(using=using):
                Author.objects.using(using).create(pk=1).delete()
        yield using


def trips_of(work: Any) -> int:
    with driver.count_trips() as trips:
        work()
    return trips.count


def commit_of(alias: str) -> int:
    """The trip that ends a transaction: D1 has none."""
    return int(connections[alias].features.supports_transactions)


def reservation_of(alias: str) -> int:
    """The trip for new rows' keys in a block on D1."""
    return int(alias == "d1_optimistic")


def books(count: int, **values: Any) -> list[Book]:
    return [
        Book(number=n, rank=n, weight=n / 4, text=f"book {n}", lent=n % 2 == 0, **values)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "name", ["get", "create", "save", "update", "delete", "exists", "count", "first", "list"]
)
def test_an_operation_on_single_rows_takes_one_trip(alias: str, name: str) -> None:
    rows = Book.objects.using(alias)
    made = rows.create(number=1)
    work = {
        "get": lambda: rows.get(pk=made.pk),
        "create": lambda: rows.create(number=2),
        "save": made.save,
        "update": lambda: rows.filter(pk=made.pk).update(rank=3),
        "delete": made.delete,
        "exists": rows.exists,
        "count": rows.count,
        "first": rows.first,
        "list": lambda: list(rows.all()),
    }
    assert trips_of(work[name]) == 1


def test_thousands_of_rows_are_created_in_at_most_three_trips(alias: str) -> None:
    rows = books(3000)
    taken = trips_of(lambda: Book.objects.using(alias).bulk_create(rows))
    # Django 6.1 opens no transaction for what goes in one statement.
    assert 1 <= taken <= 1 + commit_of(alias) + reservation_of(alias)
    assert all(row.pk for row in rows)
    assert Book.objects.using(alias).get(pk=rows[-1].pk).number == 2999


def test_thousands_of_rows_are_updated_in_one_statement_and_a_commit(alias: str) -> None:
    rows = Book.objects.using(alias).bulk_create(books(2000))
    for row in rows:
        row.rank, row.weight, row.text, row.lent = row.rank + 1, 0.5, "new", True
        row.number, row.span = None, datetime.timedelta(days=1)
    names = ["rank", "weight", "text", "lent", "number", "span"]
    taken = trips_of(lambda: Book.objects.using(alias).bulk_update(rows, names))
    assert taken == 1 + commit_of(alias)
    assert Book.objects.using(alias).get(pk=rows[-1].pk).rank == 2000


def test_five_thousand_rows_are_iterated_over_in_three_trips(alias: str) -> None:
    Book.objects.using(alias).bulk_create(books(5000))
    found: list[int] = []
    taken = trips_of(lambda: found.extend(book.rank for book in Book.objects.using(alias).iterator()))
    assert (taken, found) == (3, list(range(5000)))


def test_thousands_of_keys_are_looked_up_in_one_trip(alias: str) -> None:
    keys = [row.pk for row in Book.objects.using(alias).bulk_create(books(2000))]
    found: list[Book] = []
    assert trips_of(lambda: found.extend(Book.objects.using(alias).filter(pk__in=keys))) == 1
    assert len(found) == 2000


def test_the_children_of_thousands_of_parents_are_prefetched_in_two_trips(alias: str) -> None:
    parents = Author.objects.using(alias).bulk_create([Author(name=str(n)) for n in range(2000)])
    Book.objects.using(alias).bulk_create([Book(author=parent) for parent in parents])
    found: list[Author] = []

    def work() -> None:
        found.extend(Author.objects.using(alias).order_by("pk"))
        prefetch_related_objects(found, "book_set")

    assert trips_of(work) == 2
    assert trips_of(lambda: [list(parent.book_set.all()) for parent in found]) == 0


def test_hundreds_of_objects_with_children_are_deleted_in_four_trips(alias: str) -> None:
    parents = Author.objects.using(alias).bulk_create([Author(name=str(n)) for n in range(400)])
    Book.objects.using(alias).bulk_create([Book(author=parent) for parent in parents])
    # Reads the parents, deletes the children unread, and the parents.
    assert trips_of(Author.objects.using(alias).all().delete) == 3 + commit_of(alias)
    assert not Book.objects.using(alias).exists()


def test_a_transaction_costs_its_statements_and_its_commit(alias: str) -> None:
    def work() -> None:
        with transaction.atomic(using=alias):
            author = Author.objects.using(alias).create(name="one")
            with transaction.atomic(using=alias):
                Book.objects.using(alias).create(author=author)
            Book.objects.using(alias).filter(author=author).update(rank=2)

    assert trips_of(work) == 3 + commit_of(alias) + 2 * reservation_of(alias)


def test_a_transaction_in_which_nothing_is_sent_costs_nothing(alias: str) -> None:
    def work() -> None:
        with transaction.atomic(using=alias):
            pass

    assert trips_of(work) == 0


def test_the_first_query_of_a_new_connection_takes_one_trip(alias: str) -> None:
    connection = connections[alias]
    connection.ensure_connection()
    connection.connection.transport.close()
    connection.close()
    assert trips_of(lambda: Book.objects.using(alias).exists()) == 1
