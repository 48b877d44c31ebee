"""Infinities and NaN in number fields: kept, refused or lost as on Django's own sqlite3 backend."""

import math
from decimal import Decimal

import pytest
import shelf
from django.db import DatabaseError, connections
from django.db.models import Avg, Case, Count, F, FloatField, Max, Min, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from shelf import Book

ENGINES = ("d1", "durable_object")

INF = math.inf


@pytest.fixture
def both(engine):
    """The aliases of the engine and of Django's own backend, each with books of odd weights."""
    weights = [1.5, INF, -INF, None, 2.0]
    with shelf.tables(engine) as alias, shelf.stock_tables() as stock:
        for name in (alias, stock):
            for rank, weight in enumerate(weights):
                Book.objects.using(name).create(rank=rank, weight=weight)
        yield alias, stock


def test_another_field_can_be_saved_and_the_infinity_stays(both):
    for name in both:
        book = Book.objects.using(name).get(rank=1)
        assert book.weight == INF
        book.text = "read"
        book.save()
        book.refresh_from_db()
        assert (book.text, book.weight) == ("read", INF)
        assert Book.objects.using(name).filter(weight=INF).count() == 1


@pytest.mark.parametrize("write", ["create", "bulk_create", "update", "bulk_update", "save", "get_or_create"])
def test_each_way_of_writing_keeps_infinities_and_drops_nan(both, write):
    for name in both:
        books = Book.objects.using(name)
        for rank, weight in ((10, INF), (11, -INF), (12, math.nan)):
            if write == "create":
                books.create(rank=rank, weight=weight)
            elif write == "bulk_create":
                books.bulk_create([Book(rank=rank, weight=weight), Book(rank=rank + 10, weight=1.0)])
            elif write == "get_or_create":
                books.get_or_create(rank=rank, defaults={"weight": weight})
            else:
                book = books.create(rank=rank, weight=7.0)
                book.weight = weight
                if write == "save":
                    book.save()
                elif write == "update":
                    books.filter(pk=book.pk).update(weight=weight)
                else:
                    books.bulk_update([book], ["weight"])
        ranks = books.filter(rank__in=[10, 11, 12]).order_by("rank")
        assert list(ranks.values_list("weight", flat=True)) == [INF, -INF, None]


READS = {
    "model": lambda books: [(b.rank, b.weight) for b in books.order_by("rank")],
    "values": lambda books: list(books.order_by("rank").values("rank", "weight")),
    "sorted": lambda books: list(books.order_by("weight", "rank").values_list("weight", "rank")),
    "sorted down": lambda books: list(books.order_by("-weight", "rank").values_list("weight", "rank")),
    "distinct": lambda books: sorted(map(str, books.values_list("weight", flat=True).distinct())),
    "arithmetic": lambda books: list(books.order_by("rank").values_list(F("weight") * 2, F("weight") - 1)),
    "too large": lambda books: list(books.filter(rank=0).values_list(F("weight") * 1e308 * 1e308)),
    "value": lambda books: list(books.filter(rank=0).values_list(Value(INF, FloatField()))),
    "coalesce": lambda books: list(books.order_by("rank").values_list(Coalesce("weight", Value(-INF)))),
    "case": lambda books: list(books.order_by("rank").values_list(Case(When(rank=1, then="weight")))),
    "subquery": lambda books: list(
        books.filter(rank__lt=2).values_list(Subquery(books.filter(rank=1).values("weight")))
    ),
    "aggregate": lambda books: books.exclude(rank=2).aggregate(
        Max("weight"), Min("weight"), Sum("weight"), Avg("weight")
    ),
    "aggregate of a slice": lambda books: books.order_by("rank")[:2].aggregate(
        Max("weight"), n=Count("weight")
    ),
    "aggregate of a union": lambda books: books.filter(rank=1).union(books.filter(rank=0)).count(),
    "annotated sum": lambda books: list(
        books.values("rank").annotate(x=Sum("weight")).order_by("rank").values_list("x")
    ),
    "grouped": lambda books: list(
        books.exclude(rank=2)
        .values("weight")
        .annotate(n=Count("pk"))
        .order_by("n", "weight")
        .values_list("weight", "n")
    ),
    "filter": lambda books: list(books.filter(weight__gt=1e300).values_list("rank", "weight")),
    "filter inf": lambda books: list(
        books.filter(weight__lt=INF).order_by("rank").values_list("rank", "weight")
    ),
    "filter nan": lambda books: list(books.filter(weight=math.nan)),
    "in subquery": lambda books: list(
        books.filter(weight__in=books.values("weight")).order_by("rank").values_list("rank")
    ),
    "in list": lambda books: list(
        books.filter(weight__in=[INF, 2.0]).order_by("rank").values_list("rank", "weight")
    ),
    "in long list": lambda books: list(
        books.filter(weight__in=[INF, *map(float, range(70))]).order_by("rank").values_list("rank")
    ),
    "union": lambda books: sorted(b.weight for b in books.filter(rank=1).union(books.filter(rank=2))),
    "iterator": lambda books: [b.weight for b in books.order_by("weight").iterator(chunk_size=1)],
    "dates": lambda books: list(books.order_by("rank").values_list("weight", "price", "extra", "moment")),
}


@pytest.mark.parametrize("read", READS)
def test_each_way_of_reading_gives_what_sqlite3_gives(both, read):
    ours, right = (READS[read](Book.objects.using(name)) for name in both)
    assert ours == right


def test_an_order_by_an_annotation_is_the_numbers_order(both):
    orders = [
        list(
            Book.objects.using(name)
            .annotate(x=F("weight") * 2)
            .order_by(F("x").asc(nulls_first=True))
            .values_list("rank", flat=True)
        )
        for name in both
    ]
    assert orders[0] == orders[1] == [3, 2, 0, 4, 1]


def test_an_expression_that_the_database_computes_keeps_its_infinity(both):
    for name in both:
        books = Book.objects.using(name)
        books.filter(rank=0).update(weight=F("weight") * 1e308 * 1e308)
        book = books.get(rank=0)
        book.save()
        assert books.get(rank=0).weight == INF


@pytest.mark.parametrize("value", [INF, -INF, math.nan, Decimal("Infinity"), Decimal("NaN")])
@pytest.mark.parametrize("field", ["price", "number", "extra"])
def test_other_fields_take_or_refuse_them_as_on_sqlite3(both, field, value):
    if field == "extra" and isinstance(value, Decimal):
        pytest.skip("JSON has no decimals")
    results = []
    for name in both:
        books = Book.objects.using(name)
        try:
            book = books.create(rank=20, **{field: value})
            results.append((books.filter(rank=20).count(), getattr(books.get(pk=book.pk), field)))
        except Exception as error:
            results.append(type(error))
    ours, right = results
    assert ours == right or (isinstance(ours, type) and isinstance(right, type) and issubclass(ours, right))


def test_a_decimal_column_that_became_infinite_is_an_error_and_not_none(both):
    for name in both:
        books = Book.objects.using(name)
        book = books.create(rank=30, price=Decimal("1.5"))
        with connections[name].cursor() as cursor:
            cursor.execute("UPDATE shelf_book SET price = 9e999 WHERE id = %s", [book.pk])
    with pytest.raises(DatabaseError, match=r"shelf_book\.price holds"):
        Book.objects.using(both[0]).get(rank=30)
    totals = [Book.objects.using(name).aggregate(x=Max("price"))["x"] for name in both]
    assert totals == [Decimal("Infinity")] * 2
