"""What is stored comes back as it was, with its type, on both engines."""

import datetime
import decimal
import uuid

import pytest
from django.db.models import DecimalField, F, FloatField, GeneratedField, Value
from django.test import override_settings
from shelf import Author, Book, Ticket, tables
from test_schema import create, make_apps, model_state

from do_bridge import django_compat, driver

ENGINES_BY_DAY = ("d1", "durable_object")

UTC = datetime.UTC
VALUES = {
    "number": 2**53 + 1,
    "weight": 5.0,
    "price": decimal.Decimal("1234.500"),
    "text": "Zoë's 'quoted' \\ %s text\nwith a line",
    "data": b"\x00\xff binary",
    "lent": True,
    "moment": datetime.datetime(2024, 3, 10, 7, 0, 0, 123456, tzinfo=UTC),
    "day": datetime.date(2024, 2, 29),
    "clock": datetime.time(1, 2, 3, 4),
    "span": datetime.timedelta(days=-1, microseconds=5),
    "token": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "extra": {"a": [1, 2.5, None, True], "ü": "text"},
}


@pytest.fixture
def using(engine):
    with tables(engine) as alias:
        yield alias


def stored(book, using):
    book = Book.objects.using(using).get(pk=book.pk)
    return {name: getattr(book, name) for name in VALUES}


def assert_same(found, expected):
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


def test_every_type_is_read_as_it_was_written_one_by_one(using):
    assert_same(stored(Book.objects.using(using).create(**VALUES), using), VALUES)


def test_every_type_is_read_as_it_was_written_in_bulk(using):
    books = Book.objects.using(using).bulk_create([Book(**VALUES), Book(), Book(**VALUES)])
    assert_same(stored(books[0], using), VALUES)
    assert_same(stored(books[1], using), dict.fromkeys(VALUES))
    assert_same(stored(books[2], using), VALUES)


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_integers_are_exact_to_64_bits(using, number):
    for book in (
        Book.objects.using(using).create(number=number),
        *Book.objects.using(using).bulk_create([Book(number=number), Book(number=number)]),
    ):
        assert Book.objects.using(using).get(pk=book.pk, number=number).number == number


def test_keys_above_2_to_the_53_come_back_exact_from_an_insert(using):
    assert Ticket.objects.using(using).create().pk == 2**53 + 1
    made = Ticket.objects.using(using).bulk_create([Ticket(id=2**62 + 1), Ticket(id=2**62 + 3)])
    assert [ticket.pk for ticket in made] == [2**62 + 1, 2**62 + 3]
    assert [ticket.code for ticket in made] == [7, 7]


@pytest.fixture
def sums(engine):
    """sums(output field): a manager of rows with a number, and the same computed by the database."""

    def made(output_field):
        computed = GeneratedField(expression=F("number") * 1, output_field=output_field, db_persist=True)
        apps = make_apps(model_state("Sum", [("number", FloatField(null=True)), ("real", computed)]))
        create(engine, apps, "Sum")
        return apps.get_model("zoo", "Sum").objects.using(engine.alias)

    with override_settings(DATABASE_ROUTERS=[]):
        yield made


def test_decimals_that_the_database_computes_come_back_from_an_insert(sums):
    decimals = sums(DecimalField(max_digits=20, decimal_places=1))
    for number in (12.5, 2.0**53 + 2, -3.0):
        made = decimals.create(number=number)
        assert type(made.real) is decimal.Decimal
        # A whole number is stored as an integer, and Django 6.1 reads those as they are.
        exact = django_compat.DECIMALS_FROM_TEXT and number.is_integer()
        right = decimal.Decimal(number) if exact else decimal.Decimal(f"{number:.15g}")
        assert made.real == decimals.get(pk=made.pk).real == right


def test_floats_that_the_database_computes_come_back_exact_from_an_insert(sums):
    sums = sums(FloatField())
    numbers = [2.0**60, 1 / 3, -5.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, None, float("inf")]
    for number in numbers:
        assert sums.create(number=number).real == number
    made = sums.bulk_create([sums.model(number=number) for number in numbers])
    assert [each.real for each in made] == numbers
    assert all(type(each.real) is float for each in made if each.number is not None)


def test_parameters_keep_their_type_in_expressions(using):
    book = Book.objects.using(using).create(rank=7, weight=7.0)
    books = Book.objects.using(using).filter(pk=book.pk)
    assert books.values_list(F("rank") / 2, F("rank") - Value(-5)).get() == (3, 12)
    assert books.annotate(half=F("weight") / 2).get().half == 3.5


def test_a_statement_costs_one_trip(using):
    author = Author.objects.using(using).create(name="Ann")
    with driver.count_trips() as trips:
        Book.objects.using(using).create(author=author, rank=1)
    assert trips.count == 1
    with driver.count_trips() as trips:
        Book.objects.using(using).get(author=author)
    assert trips.count == 1


def test_the_query_log_shows_literals_and_asks_nothing(using, engine):
    engine.force_debug_cursor = True
    try:
        with driver.count_trips() as trips:
            list(Author.objects.using(using).filter(name="O'Hara", id__gt=5))
        assert trips.count == 1
        assert "= 'O''Hara'" in engine.queries[-1]["sql"]
        assert "> 5" in engine.queries[-1]["sql"]
    finally:
        engine.force_debug_cursor = False
