"""What models and querysets have since Django 6.0 and 6.1 works as on Django's own sqlite3 engine."""

import decimal

import pytest
from django.db import connections, models
from django.db.models import F, Q, Value
from django.db.models.fields.json import KT
from django.test import override_settings
from shelf import Author, Book, Seat, stock_tables, tables
from test_schema import create, make_apps, model_state

from do_bridge import django_compat, driver

ENGINES_BY_DAY = ("d1", "durable_object")

since_60 = pytest.mark.skipif(django_compat.INSTALLED < (6, 0), reason="Django has it since 6.0.")
since_61 = pytest.mark.skipif(django_compat.INSTALLED < (6, 1), reason="Django has it since 6.1.")


@pytest.fixture
def aliases(engine):
    with tables(engine) as alias, stock_tables() as stock:
        for using in (alias, stock):
            for key in (1, 2, 3):
                Author.objects.using(using).create(id=key, name=f"n{key}")
                Book.objects.using(using).create(id=key, author_id=key, rank=key, extra={"a": [1, key, None]})
            Seat.objects.using(using).bulk_create(Seat(row=n, place=f"p{n}") for n in range(3))
        yield alias, stock


def same(aliases, read):
    ours, right = (read(alias) for alias in aliases)
    assert ours == right
    return ours


@since_60
def test_json_arrays_are_read_from_their_end(aliases):
    found = same(
        aliases,
        lambda a: [
            list(Book.objects.using(a).filter(**{"extra__a__-2": 2}).values_list("pk", flat=True)),
            list(
                Book.objects.using(a)
                .order_by("pk")
                .annotate(x=KT("extra__a__-2"))
                .values_list("x", flat=True)
            ),
            list(Book.objects.using(a).order_by("pk").values_list("extra__a__-1", flat=True)),
        ],
    )
    assert found[0] == [2]


@since_61
def test_a_json_null_is_stored_and_found_in_each_way_of_writing(aliases):
    null = models.JSONNull()

    def written(alias):
        books = Book.objects.using(alias)
        one = books.create(id=10, extra=null)
        books.bulk_create([Book(id=11, extra=null), Book(id=12, extra={"b": 1}), Book(id=13)])
        books.filter(pk=1).update(extra=null)
        changed = list(books.filter(pk__in=[2, 3]).order_by("pk"))
        changed[0].extra, changed[1].extra = null, {"c": None}
        books.bulk_update(changed, ["extra"])
        one.refresh_from_db()
        found = [
            sorted(books.filter(extra=null).values_list("pk", flat=True)),
            sorted(books.filter(extra__isnull=True).values_list("pk", flat=True)),
            sorted(books.filter(extra__c=None).values_list("pk", flat=True)),
            list(books.order_by("pk").values_list("pk", "extra")),
        ]
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT id, extra FROM shelf_book ORDER BY id")
            return found, cursor.fetchall()

    found, stored = same(aliases, written)
    assert found[0] == [1, 2, 10, 11]
    assert dict(stored)[13] is None


@since_61
def test_a_decimal_of_any_precision_keeps_its_digits_as_on_sqlite3(engine):
    apps = make_apps(model_state("Sum", [("value", models.DecimalField(null=True))]))
    with stock_tables() as stock, override_settings(DATABASE_ROUTERS=[]):
        found = []
        for connection in (engine, connections[stock]):
            create(connection, apps, "Sum")
            sums = apps.get_model("zoo", "Sum").objects.using(connection.alias)
            for text in ("1.5", "-0.00001", "123456789012345", "12345678901234567890", "1e20", "7", None):
                sums.create(value=None if text is None else decimal.Decimal(text))
            made = sums.create(value=Value(decimal.Decimal("2.5")) + 1)
            rows = list(sums.order_by("pk").values_list("value", flat=True))
            found.append((rows, made.value, sums.aggregate(models.Sum("value"), models.Max("value"))))
    assert found[0] == found[1]


@since_61
def test_in_bulk_takes_values_and_any_number_of_keys_in_one_round_trip(aliases):
    alias = aliases[0]
    same(aliases, lambda a: Book.objects.using(a).values("rank").in_bulk([1, 3]))
    same(aliases, lambda a: Book.objects.using(a).values_list("rank", "id").in_bulk([1, 3]))
    same(aliases, lambda a: Book.objects.using(a).values_list("rank", flat=True).in_bulk())
    with driver.count_trips() as trips:
        assert len(Book.objects.using(alias).in_bulk(range(5000))) == 3
    assert trips.count == 1


@since_60
def test_raw_queries_read_models_of_composite_keys(aliases):
    seats = same(
        aliases, lambda a: [s.pk for s in Seat.objects.using(a).raw("SELECT * FROM shelf_seat ORDER BY row")]
    )
    assert seats == [(0, "p0"), (1, "p1"), (2, "p2")]


@since_60
def test_subqueries_of_composite_keys_are_compared(aliases):
    def found(alias):
        seats = Seat.objects.using(alias)
        one = seats.filter(row=1).values("pk")
        return [
            list(seats.filter(pk=one[:1]).values_list("row", flat=True)),
            seats.filter(pk__in=one).count(),
        ]

    assert same(aliases, found) == [[1], 1]


@since_60
def test_a_missing_row_is_not_updated_and_says_so(aliases):
    for alias in aliases:
        with pytest.raises(Book.NotUpdated, match="did not affect any rows"):
            Book(pk=99).save(using=alias, force_update=True)
        with pytest.raises(Book.NotUpdated, match="did not affect any rows"):
            Book(pk=99).save(using=alias, update_fields=["rank"])


def test_a_queryset_without_order_gives_its_first_and_last_row(aliases):
    same(aliases, lambda a: Book.objects.using(a).order_by("-rank").first().pk)
    same(aliases, lambda a: Book.objects.using(a).filter(Q(rank__gt=1)).order_by("rank").last().pk)


def test_aliases_of_mixed_case_are_found_again(aliases):
    def found(alias):
        books = Book.objects.using(alias).annotate(MixedCase=F("rank") * 2)
        return [
            list(books.filter(MixedCase__gt=2).order_by("MixedCase").values_list("MixedCase", flat=True)),
            list(
                books.values("MixedCase")
                .annotate(n=models.Count("pk"))
                .order_by("MixedCase")
                .values_list("n")
            ),
            list(books.order_by("-MixedCase").values_list("author__name", "MixedCase").distinct()),
        ]

    same(aliases, found)


@since_61
def test_a_union_of_models_with_an_order_keeps_to_it(aliases):
    def found(alias):
        low, high = (Book.objects.using(alias).filter(**{f"rank__{op}": 2}) for op in ("lt", "gte"))
        return [row.pk for row in low.order_by("rank").union(high).order_by("-rank")]

    assert same(aliases, found) == [3, 2, 1]
