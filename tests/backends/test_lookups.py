"""Lookups give what Django's own sqlite3 backend gives, also beyond the runtime's limits."""

import functools
import operator

import pytest
from django.db import NotSupportedError
from django.db.models import F, Q
from django.db.models.functions import Lower
from shelf import Author, Book, stock_tables, tables

from do_bridge import driver

LONG = "Long" * 20
NAMES = ["Ann", "bob", "ÀÉ", r"50%_\x", LONG, LONG + "End", "x" + LONG, "50 percent"]
PATTERNS = ["ann", "N", "é", "50%", "%_\\", "_", LONG.lower(), LONG + "end", "x" + LONG.upper(), "é" * 30, ""]
LOOKUPS = [
    "contains",
    "icontains",
    "startswith",
    "istartswith",
    "endswith",
    "iendswith",
    "iexact",
    "exact",
]


@pytest.fixture
def using(durable_object):
    with tables(durable_object) as alias:
        yield alias


@pytest.fixture
def stock(django_db_blocker):
    with django_db_blocker.unblock(), stock_tables() as alias:
        yield alias


def found(alias, **conditions):
    return list(Author.objects.using(alias).filter(**conditions).order_by("pk").values_list("pk", flat=True))


@pytest.fixture
def filled(using, stock):
    for alias in (using, stock):
        Author.objects.using(alias).bulk_create([Author(id=n, name=name) for n, name in enumerate(NAMES, 1)])
    return using, stock


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_patterns_of_any_length_match_as_on_sqlite3(filled, lookup):
    using, stock = filled
    condition = f"name__{lookup}"
    for pattern in PATTERNS:
        assert found(using, **{condition: pattern}) == found(stock, **{condition: pattern}), pattern
    for expression in (F("name"), Lower("name")):
        assert found(using, **{condition: expression}) == found(stock, **{condition: expression})


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_a_long_pattern_excludes_as_on_sqlite3(filled, lookup):
    pks = [
        list(Author.objects.using(alias).exclude(**{f"name__{lookup}": LONG}).values_list("pk", flat=True))
        for alias in filled
    ]
    assert pks[0] == pks[1]


@pytest.mark.parametrize("lookup", ["regex", "iregex"])
def test_a_regular_expression_is_refused_before_anything_is_sent(using, lookup):
    refusal = pytest.raises(NotSupportedError, match=f"'{lookup}' lookup.*contains")
    with driver.count_trips() as trips, refusal:
        list(Author.objects.using(using).filter(**{f"name__{lookup}": "a.*"}))
    assert trips.count == 0


@pytest.mark.parametrize("connector", [operator.or_, operator.and_])
def test_hundreds_of_conditions_are_not_too_deep(using, connector):
    Book.objects.using(using).bulk_create([Book(rank=n) for n in range(10)])
    equal = functools.reduce(connector, [Q(rank=n) for n in range(5, 305)])
    unequal = functools.reduce(connector, [~Q(rank=n) for n in range(5, 305)])
    books = Book.objects.using(using)
    either = connector is operator.or_
    assert books.filter(equal).count() == (5 if either else 0)
    assert books.exclude(equal).count() == (5 if either else 10)
    assert books.filter(unequal).count() == (10 if either else 5)


def test_json_is_searched_by_key_and_value(using):
    Book.objects.using(using).bulk_create([Book(extra={"k": n, "s": f"s{n}"}) for n in range(100)])
    books = Book.objects.using(using)
    assert books.filter(extra__k__gt=90).count() == 9
    assert books.filter(extra__k__in=list(range(60))).count() == 60
    assert books.filter(extra__has_key="s").count() == 100
    assert books.filter(extra__s__icontains="S9").count() == 11
    assert books.get(extra={"k": 5, "s": "s5"}).extra["k"] == 5
