"""Functions and aggregates that Django has since 6.0 and 6.1 give what they give on its sqlite3 backend."""

import datetime
import time
import uuid

import pytest
from django.db import NotSupportedError, models
from django.db.migrations.state import ModelState
from django.db.models import F, Q, Value, Window, functions
from django.test import override_settings
from shelf import Author, Book, stock_tables, tables
from test_schema import create, make_apps

from do_bridge import django_compat, driver

ENGINES_BY_DAY = ("d1", "durable_object")

BIG = 2**62 + 5
NUMBERS = [None, 0, 1, 6, -1, -(2**63), 2**63 - 1, BIG]
GROUPS = {"all": NUMBERS, "none": [None, None], "one": [BIG], "low": [6, 3, None, 12]}


def has(*names):
    """Skip where the installed Django lacks one of them."""
    missing = [name for name in names if not (hasattr(models, name) or hasattr(functions, name))]
    return pytest.mark.skipif(bool(missing), reason=f"This Django has no {', '.join(missing)}.")


@pytest.fixture
def aliases(engine):
    """The aliases of the engine and of Django's own sqlite3, with the same rows."""
    with tables(engine) as alias, stock_tables() as stock:
        for using in (alias, stock):
            for key, (name, numbers) in enumerate(GROUPS.items(), 1):
                Author.objects.using(using).create(id=key, name=name)
                Book.objects.using(using).bulk_create(
                    Book(author_id=key, number=number, rank=at, text=f"{name}-{at % 3}")
                    for at, number in enumerate(numbers)
                )
        yield alias, stock


def same(aliases, aggregate):
    """Compare an aggregate of each group on both; return it."""
    ours, right = (
        list(Book.objects.using(a).values("author").annotate(x=aggregate).order_by("author").values_list("x"))
        for a in aliases
    )
    assert ours == right
    return ours


@has("BitAnd", "BitOr", "BitXor")
@pytest.mark.parametrize("name", ["BitAnd", "BitOr", "BitXor"])
def test_bits_of_numbers_of_64_are_those_of_sqlite3(aliases, name):
    aggregate = getattr(models, name)
    found = same(aliases, aggregate("number"))
    assert found[1:3] == [(None,), (BIG,)]
    same(aliases, aggregate("number", filter=Q(rank__lt=3)))
    same(aliases, aggregate(F("number") % 100 + Value(1)))
    same(aliases, aggregate("number", filter=Q(rank__gt=90), default=7))


@has("BitOr")
def test_bits_over_a_window_are_refused_before_anything_is_sent(aliases):
    with driver.count_trips() as trips, pytest.raises(NotSupportedError, match=r"BitOr\(\) as a window"):
        list(Book.objects.using(aliases[0]).annotate(x=Window(models.BitOr("number"))))
    assert trips.count == 0


@has("AnyValue")
def test_any_value_is_one_of_the_group(aliases):
    books = Book.objects.using(aliases[0]).values("author")
    found = dict(books.annotate(x=models.AnyValue("text")).values_list("author__name", "x"))
    assert {name: text.partition("-")[0] for name, text in found.items()} == {name: name for name in GROUPS}
    filtered = dict(
        books.annotate(x=models.AnyValue("number", filter=Q(rank__gt=3))).values_list("author__name", "x")
    )
    assert filtered["all"] in NUMBERS[4:]
    assert (filtered["none"], filtered["low"]) == (None, None)


@has("StringAgg")
def test_texts_are_joined_in_any_order(aliases):
    # The sqlite3 module of an old Python knows no order in an aggregate.
    def joined(aggregate):
        books = Book.objects.using(aliases[0]).filter(author__name="low")
        return books.aggregate(x=aggregate)["x"]

    assert joined(models.StringAgg("text", Value("; "), order_by="-rank")) == "low-0; low-2; low-1; low-0"
    if django_compat.INSTALLED >= (6, 1):
        distinct = models.StringAgg("text", Value(","), distinct=True, order_by="text")
        assert joined(distinct) == "low-0,low-1,low-2"
    some = models.StringAgg("text", Value("|"), filter=Q(rank__lt=2), order_by=[F("rank").desc()])
    assert joined(some) == "low-1|low-0"
    with pytest.raises(NotSupportedError, match="distinct with multiple expressions"):
        joined(models.StringAgg("text", Value("; "), distinct=True))


@has("UUID4", "UUID7")
@pytest.mark.parametrize(("name", "version"), [("UUID4", 4), ("UUID7", 7)])
def test_the_database_makes_uuids_of_each_version(aliases, name, version):
    Book.objects.using(aliases[0]).update(token=getattr(functions, name)())
    found = list(Book.objects.using(aliases[0]).values_list("token", flat=True))
    assert len(set(found)) == len(found) > 10
    assert {(token.version, token.variant) for token in found} == {(version, uuid.RFC_4122)}
    if version == 7:
        assert all(abs((token.int >> 80) / 1000 - time.time()) < 3600 for token in found)


@has("UUID4", "UUID7")
@pytest.mark.parametrize(("name", "version"), [("UUID4", 4), ("UUID7", 7)])
def test_a_key_may_have_a_uuid_of_the_database_as_its_default(engine, name, version):
    made_by = getattr(functions, name)()
    field = models.UUIDField(primary_key=True, db_default=made_by)
    apps = make_apps(ModelState("zoo", "Thing", [("id", field), ("name", models.TextField())]))
    create(engine, apps, "Thing")
    things = apps.get_model("zoo", "Thing").objects.using(engine.alias)
    with override_settings(DATABASE_ROUTERS=[]):
        one = things.create(name="one")
        assert one.pk.version == version
        two, three = things.bulk_create([things.model(name="two"), things.model(name="three")])
        assert {two.pk.version, three.pk.version} == {version}
        assert set(things.values_list("pk", flat=True)) == {one.pk, two.pk, three.pk}


@has("UUID7")
def test_the_shift_of_a_uuid_is_refused_as_by_sqlite3(aliases):
    with pytest.raises(NotSupportedError, match="shift argument"):
        Book.objects.using(aliases[0]).update(token=functions.UUID7(datetime.timedelta(days=1)))


def test_a_decimal_of_more_digits_than_a_float_is_read_as_sqlite3_reads_it(aliases):
    whole = models.DecimalField(max_digits=40, decimal_places=0)
    for using in aliases:
        Book.objects.using(using).filter(rank=0).update(number=2**53 + 1)
    ours, right = (
        [
            row.x
            for row in Book.objects.using(a)
            .filter(rank=0)
            .annotate(x=functions.Cast("number", whole))
            .order_by("id")
        ]
        for a in aliases
    )
    assert ours == right
    if django_compat.DECIMALS_FROM_TEXT:
        assert set(ours) == {2**53 + 1}
