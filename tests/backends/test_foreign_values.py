"""Values that another program has written: read as Django's own sqlite3 backend reads them, or named."""

import datetime
from functools import partial

import pytest
import shelf
from django.apps.registry import Apps
from django.db import DataError, IntegrityError, connections, models
from django.db.models import Case, Count, F, Max, Min, Subquery, When
from django.db.models import functions as fn
from django.test import override_settings
from shelf import Book

ENGINES = ("d1", "durable_object")

VALUES = [
    "''",
    "'abc'",
    "'now'",
    "'true'",
    "'t'",
    "'\"x'",
    "1700000000",
    "1700000000.5",
    "2460000.5",
    "20240101",
    "1030",
    "12",
    "2",
    "1",
    "0",
    "1.5",
    "9e999",
    "x'616263'",
    "x'ff'",
    "x'31'",
    "'2024-01-01'",
    "'2024-01-01T10:00:00Z'",
    "'2024-01-01 10:00:00+02:00'",
    "'2024-03-05 10:00:00.25'",
    "'12:30'",
    "'12:30:45.5'",
    "'2024-13-01'",
    "'0000-00-00 00:00:00'",
    "'0000-00-00'",
    "NULL",
]
FIELDS = [
    "moment",
    "day",
    "clock",
    "lent",
    "price",
    "weight",
    "number",
    "rank",
    "span",
    "token",
    "text",
    "data",
]
TEMPORALS = ["moment", "day", "clock"]


@pytest.fixture
def both(engine):
    """The aliases of the engine and of Django's own backend, with the same tables in each."""
    with shelf.tables(engine) as alias, shelf.stock_tables() as stock:
        yield alias, stock


def store(both, field):
    """Write a row for each value, its key the value's place; return the keys that both have taken."""
    taken = []
    for key, value in enumerate(VALUES, 1):
        if value == "9e999" and both[0].startswith("d1") and field not in ("weight", "price", *TEMPORALS):
            continue  # D1 gives it as NULL.
        try:
            for name in both:
                with connections[name].cursor() as cursor:
                    rank = "" if field == "rank" else ", rank"
                    zero = "" if field == "rank" else ", 0"
                    cursor.execute(
                        f"INSERT INTO shelf_book (id, {field}{rank}) VALUES ({key}, {value}{zero})", None
                    )
        except IntegrityError:
            continue
        taken.append(key)
    return taken


def outcome(read, *args):
    """What `read` returns, or the exception."""
    try:
        return read(*args)
    except Exception as error:
        return error


def differences(both, keys, read, column):
    """[(value, ours, sqlite3's)] where the two differ in what they return, or ours raises without a name."""
    found = []
    for key in keys:
        ours, right = (outcome(read, Book.objects.using(name).filter(pk=key)) for name in both)
        if isinstance(right, Exception):
            is_right = not isinstance(ours, Exception) or (
                isinstance(ours, DataError) and column in str(ours) and "abc" not in str(ours)
            )
        else:
            is_right = type(ours) is type(right) and ours == right
        if not is_right:
            found.append((VALUES[key - 1], ours, right))
    return found


# Each kind of value by these, all of them for one field of each way of conversion.
OFTEN = {"get", "max", "raw"}
READS = {
    "get": lambda books, field: getattr(books.get(), field),
    "values_list": lambda books, field: books.values_list(field, flat=True).get(),
    "values": lambda books, field: books.values(field).get()[field],
    "annotation": lambda books, field: books.annotate(x=F(field)).get().x,
    "max": lambda books, field: books.aggregate(x=Max(field))["x"],
    "min": lambda books, field: books.values("rank").annotate(x=Min(field)).values_list("x", flat=True).get(),
    "case": lambda books, field: books.annotate(x=Case(When(pk__gt=0, then=field))).get().x,
    "subquery": lambda books, field: books.annotate(x=Subquery(books.values(field)[:1])).get().x,
    "raw": lambda books, field: getattr(
        Book.objects.using(books.db).raw("SELECT * FROM shelf_book WHERE id = %s", [books.get().pk])[0], field
    ),
    "iterator": lambda books, field: getattr(next(books.iterator()), field),
    "only": lambda books, field: getattr(books.only(field).get(), field),
    "union": lambda books, field: books.values_list(field, flat=True).union(books.values_list(field)).get(),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_reads_each_value_as_on_sqlite3_or_names_its_column(both, field):
    keys = store(both, field)
    assert len(keys) > 20
    wrong = {
        name: found
        for name, read in READS.items()
        if name in OFTEN or (both[0] != "d1" and field in ("moment", "price", "token", "number"))
        # D1 gives raw SQL's infinities as NULL.
        if name != "raw" or field != "weight" or not both[0].startswith("d1")
        if (found := differences(both, keys, partial(read, field=field), f"shelf_book.{field}"))
    }
    assert wrong == {}


@pytest.mark.parametrize("field", TEMPORALS)
def test_what_is_no_date_or_time_reads_as_none_also_where_sqlite3_raises(both, field):
    keys = store(both, field)
    words = {"''", "'abc'", "'now'", "1700000000.5", "9e999", "2", "x'616263'"}
    books = Book.objects.using(both[0])
    for key in (key for key in keys if VALUES[key - 1] in words):
        for name in OFTEN:
            assert READS[name](books.filter(pk=key), field) is None


# One of each way that a function looks at its value; test_dates.py has every part.
FUNCTIONS = {
    "moment": [
        *(fn.Extract("moment", part) for part in ("year", "iso_year", "week_day", "hour", "microsecond")),
        *(fn.Trunc("moment", part) for part in ("month", "week", "hour")),
        fn.TruncDate("moment"),
        fn.TruncTime("moment"),
    ],
    "day": [fn.Extract("day", "year"), fn.Extract("day", "week"), fn.Trunc("day", "quarter")],
    "clock": [fn.Extract("clock", "second"), fn.Trunc("clock", "minute")],
}


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago"])
@pytest.mark.parametrize("field", TEMPORALS)
def test_functions_of_dates_and_times_read_each_value_as_on_sqlite3(both, field, zone):
    wrong = {}
    keys = store(both, field)
    with override_settings(USE_TZ=True, TIME_ZONE=zone):
        for expression in FUNCTIONS[field]:

            def read(books, expression=expression):
                return books.annotate(x=expression).values_list("x", flat=True).get()

            if found := differences(both, keys, read, f"shelf_book.{field}"):
                wrong[repr(expression)] = found
    assert wrong == {}


def test_dates_and_groups_of_foreign_values_do_not_fail(both):
    store(both, "moment")
    books = Book.objects.using(both[0])
    with override_settings(USE_TZ=True, TIME_ZONE="Europe/Paris"):
        assert datetime.date(2024, 1, 1) in books.dates("moment", "month")
        assert len(books.filter(moment__year=2024)) >= 2
        assert list(books.filter(moment__date=datetime.date(1999, 1, 1))) == []
        groups = books.values(year=fn.TruncYear("moment")).annotate(n=Count("pk")).order_by("year")
        assert groups[0]["year"] is None
        assert sum(group["n"] for group in groups) == len(VALUES)
        assert books.annotate(later=F("moment") + datetime.timedelta(days=1)).count() == len(VALUES)
        laters = books.annotate(later=F("moment") + datetime.timedelta(days=1)).values_list(
            "later", flat=True
        )
        assert datetime.datetime(2024, 3, 6, 10, 0, 0, 250_000, datetime.UTC) in list(laters)
        spans = [span for span in books.values_list(F("moment") - F("moment"), flat=True) if span is not None]
        assert set(spans) == {datetime.timedelta()}


@override_settings(USE_TZ=False)
def test_without_time_zones_foreign_moments_read_as_on_sqlite3(both):
    keys = store(both, "moment")
    assert differences(both, keys, lambda books: books.get().moment, "shelf_book.moment") == []


def test_the_error_names_table_and_column_and_no_value(engine):
    with shelf.tables(engine) as alias:
        with connections[alias].cursor() as cursor:
            cursor.execute("INSERT INTO shelf_book (id, rank, token) VALUES (1, 0, 'secret')")
        with pytest.raises(
            DataError, match=r"^shelf_book\.token holds a text that UUIDField cannot"
        ) as caught:
            Book.objects.using(alias).get()
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_an_error_of_somebody_elses_field_keeps_its_type_and_gets_the_columns_name(engine):
    class Picky(models.TextField):
        def from_db_value(self, value, expression, connection):
            raise KeyError("picky") if value == "k" else ValueError("picky")

    table = type(
        "Picked",
        (models.Model,),
        {
            "__module__": __name__,
            "text": Picky(),
            "Meta": type("Meta", (), {"apps": Apps(), "app_label": "picked", "managed": False}),
        },
    )
    with shelf.tables(engine) as alias:
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE picked_picked (id integer PRIMARY KEY, text text)")
            cursor.execute("INSERT INTO picked_picked VALUES (1, 'x'), (2, 'k')")
        with pytest.raises(ValueError, match=r"^picky") as caught:
            table.objects.using(alias).get(pk=1)
        assert caught.value.__notes__ == ["The value comes from picked_picked.text."]
        with pytest.raises(KeyError, match="picky"):
            table.objects.using(alias).get(pk=2)
