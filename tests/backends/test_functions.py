"""Django's database functions and aggregates give what they give on its sqlite3 backend."""

import contextlib
import datetime
import decimal
import functools
import zoneinfo

import pytest
from django.db import NotSupportedError, OperationalError
from django.db.models import (
    Avg,
    CharField,
    Count,
    DateField,
    DateTimeField,
    DecimalField,
    DurationField,
    ExpressionWrapper,
    F,
    IntegerField,
    Max,
    Q,
    StdDev,
    Sum,
    TimeField,
    Value,
    Variance,
    Window,
)
from django.db.models import functions as fn
from engine_aliases import alias_for
from shelf import Author, Book, stock_tables, tables

from do_bridge import driver

UTC = datetime.UTC
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
NAMES = ["Ann", "bob", "Zoë", "ÀÉ", r"50%_\x", "x" * 70, ""]


def fill(alias):
    Author.objects.using(alias).bulk_create([Author(id=n, name=name) for n, name in enumerate(NAMES, 1)])
    Book.objects.using(alias).bulk_create(
        [
            Book(
                id=n,
                author_id=n % 7 + 1,
                number=n * 3,
                rank=-n if n % 2 else n,
                weight=n / 60,
                price=decimal.Decimal(n) / 8,
                lent=n % 3 == 0,
                moment=datetime.datetime(2020, 1 + n % 12, 1 + n % 28, n % 24, n, 5, n * 1000, tzinfo=UTC),
                day=datetime.date(2020, 1 + n % 12, 1 + n % 28),
                clock=datetime.time(n % 24, n),
                span=datetime.timedelta(days=n, seconds=n),
            )
            for n in range(1, 60)
        ]
        + [Book(id=60, author_id=1)]
    )


@pytest.fixture(scope="module")
def both(local_worker, django_db_blocker):
    """both(query): its result on a Durable Object, after comparing it with sqlite3's."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        connection = stack.enter_context(alias_for("durable_object", local_worker))
        remote = stack.enter_context(tables(connection))
        stock = stack.enter_context(stock_tables())
        fill(remote)
        fill(stock)

        def both(query):
            found, right = query(remote), query(stock)
            assert same(found, right), (found, right)
            return found

        yield both


def same(found, right):
    if isinstance(found, list | tuple) and isinstance(right, list | tuple):
        return len(found) == len(right) and all(map(same, found, right))
    if isinstance(found, dict) and isinstance(right, dict):
        return found.keys() == right.keys() and all(same(found[key], right[key]) for key in found)
    if isinstance(found, float) and isinstance(right, int | float):
        return found == pytest.approx(right, rel=1e-9, abs=1e-12)
    return found == right and type(found) is type(right)


def annotated(model, expression, alias):
    rows = model.objects.using(alias).annotate(result=expression).order_by("pk")
    return list(rows.values_list("result", flat=True))


NUMBERS = {
    **{
        f"{function.__name__} of a {field}": function(field)
        for function in (
            fn.Abs, fn.Ceil, fn.Cos, fn.Degrees, fn.Exp, fn.Floor, fn.Radians, fn.Round, fn.Sign,
            fn.Sin, fn.Sqrt, fn.Tan, fn.Cot, fn.Ln, fn.ATan,
        )
        for field in ("weight", "price")
    },
    "ACos": fn.ACos("weight"),
    "ASin": fn.ASin("weight"),
    "ATan2": fn.ATan2("weight", "number"),
    "Power": fn.Power("number", 2),
    "Power of a decimal": fn.Power("weight", F("price")),
    "the operator **": F("number") ** 2,
    "Mod": fn.Mod("number", 7),
    "Mod of decimals": fn.Mod("price", F("weight")),
    "Log": fn.Log(2, "weight"),
    "Pi": fn.Pi(),
    "Round to places": fn.Round("weight", 2),
    "Sign of a negative": fn.Sign("rank"),
    "bitxor": F("rank").bitxor(5),
    "bitxor twice": F("rank").bitxor(F("number").bitxor(Value(3))),
    "bitand": F("rank").bitand(5),
    "shift": F("rank").bitleftshift(2),
    "a product of decimals": ExpressionWrapper(
        F("price") * F("price"), DecimalField(max_digits=20, decimal_places=6)
    ),
    "an integer division": F("number") / 4,
}  # fmt: skip
TEXTS = {
    "LPad": fn.LPad("name", 8, Value("xy")),
    "LPad that cuts": fn.LPad("name", 2, Value("xy")),
    "LPad with nothing": fn.LPad("name", 8, Value("")),
    "LPad of an expression": fn.LPad("name", fn.Length("name") + 2, F("name")),
    "LPad to NULL": fn.LPad("name", Value(None, output_field=IntegerField()), Value("x")),
    "RPad": fn.RPad("name", 8, Value("xy")),
    "RPad to nothing": fn.RPad("name", 0, Value("xy")),
    "Repeat": fn.Repeat("name", 3),
    "Repeat by an expression": fn.Repeat("name", fn.Length("name") - 3),
    "Repeat of NULL": fn.Repeat(Value(None, output_field=CharField()), 3),
    "Reverse": fn.Reverse("name"),
    "Reverse of NULL": fn.Reverse(Value(None, output_field=CharField())),
    "Upper": fn.Upper("name"),
    "Left": fn.Left("name", 2),
    "Right": fn.Right("name", 2),
    "StrIndex": fn.StrIndex("name", Value("n")),
    "Replace": fn.Replace("name", Value("n"), Value("%")),
    "Concat": fn.Concat("name", Value("-"), "id", output_field=CharField()),
    "Chr": fn.Chr(Value(233)),
    "Ord": fn.Ord("name"),
    "Cast": fn.Cast("id", CharField()),
    "JSONObject": fn.JSONObject(a="name", b="id"),
}
AGGREGATES = {
    "StdDev": StdDev("weight"),
    "StdDev of a sample": StdDev("weight", sample=True),
    "StdDev of some": StdDev("number", filter=Q(number__gt=30)),
    "Variance": Variance("number"),
    "Variance of decimals": Variance("price", sample=True),
    "Avg": Avg("number"),
    "Avg of decimals": Avg("price"),
    "Avg of durations": Avg("span"),
    "Sum": Sum("number"),
    "Sum of decimals": Sum("price"),
    "Sum of durations": Sum("span"),
    "Max": Max("moment"),
    "Count of some": Count("id", filter=Q(lent=True)),
}
DURATIONS = {
    "datetime + duration": ExpressionWrapper(F("moment") + F("span"), DateTimeField()),
    "duration + datetime": ExpressionWrapper(F("span") + F("moment"), DateTimeField()),
    "datetime - duration": ExpressionWrapper(F("moment") - F("span"), DateTimeField()),
    "date + timedelta": ExpressionWrapper(F("day") + datetime.timedelta(days=3), DateField()),
    "date + duration": ExpressionWrapper(F("day") + F("span"), DateTimeField()),
    "datetime - datetime": F("moment") - Value(datetime.datetime(2019, 1, 1, tzinfo=UTC)),
    "date - date": F("day") - Value(datetime.date(2019, 1, 1)),
    "time - time": F("clock") - Value(datetime.time(1, 1, 1, 5)),
    "a chain of moves": ExpressionWrapper(
        F("moment") + F("span") - datetime.timedelta(days=3) + F("span") - F("span") + F("span"),
        DateTimeField(),
    ),
    "duration * number": ExpressionWrapper(F("span") * 2, DurationField()),
    "duration / number": ExpressionWrapper(F("span") / 3, DurationField()),
    "duration * float": ExpressionWrapper(F("span") * F("weight"), DurationField()),
    "duration - timedelta": F("span") - datetime.timedelta(days=1),
}
PERIODS = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"]
EXTRACTS = [
    fn.ExtractYear, fn.ExtractIsoYear, fn.ExtractQuarter, fn.ExtractMonth, fn.ExtractWeek, fn.ExtractWeekDay,
    fn.ExtractIsoWeekDay, fn.ExtractDay, fn.ExtractHour, fn.ExtractMinute, fn.ExtractSecond,
]  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_computed_as_on_sqlite3(both, name):
    # Domain errors are exceptions in Python and NULL in SQLite; the rows with NULL are not asked.
    both(lambda alias: annotated(Book, NUMBERS[name], alias)[:59])


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_made_as_on_sqlite3(both, name):
    both(lambda alias: annotated(Author, TEXTS[name], alias))


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_is_computed_as_on_sqlite3(both, name):
    aggregate = AGGREGATES[name]
    # Python's statistics, which sqlite3 uses, fail on a NULL; SQL leaves it out.
    books = Book.objects.exclude(number=None)
    both(lambda alias: books.using(alias).aggregate(result=aggregate))
    both(lambda alias: books.using(alias).filter(number=-9).aggregate(result=aggregate))
    grouped = books.values("author").annotate(result=aggregate).order_by("author")
    both(lambda alias: list(grouped.using(alias)))


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_reckoned_as_on_sqlite3(both, name):
    both(lambda alias: annotated(Book, DURATIONS[name], alias))


@pytest.mark.parametrize("period", PERIODS)
def test_truncating_knows_time_zones_in_annotations_and_aggregates(both, period):
    both(lambda alias: annotated(Book, fn.Trunc("moment", period), alias))
    both(lambda alias: annotated(Book, fn.Trunc("moment", period, tzinfo=NEW_YORK), alias))
    latest = fn.Trunc(Max("moment"), period, tzinfo=NEW_YORK)
    both(lambda alias: Book.objects.using(alias).aggregate(result=latest))
    if period in ("hour", "minute", "second"):
        clock = fn.Trunc("moment", period, output_field=TimeField(), tzinfo=NEW_YORK)
        both(lambda alias: annotated(Book, clock, alias))
    else:
        both(lambda alias: annotated(Book, fn.Trunc("day", period), alias))


@pytest.mark.parametrize("extract", EXTRACTS)
def test_extracting_knows_time_zones_in_annotations_and_aggregates(both, extract):
    both(lambda alias: annotated(Book, extract("moment", tzinfo=NEW_YORK), alias))
    grouped = Book.objects.values("author").annotate(result=extract(Max("moment"), tzinfo=NEW_YORK))
    both(lambda alias: list(grouped.using(alias).order_by("author")))


def test_dates_and_datetimes_list_the_periods_of_a_zone(both):
    both(lambda alias: list(Book.objects.using(alias).dates("day", "month")))
    both(lambda alias: list(Book.objects.using(alias).datetimes("moment", "month", tzinfo=NEW_YORK)))
    monthly = Book.objects.annotate(month=fn.TruncMonth("moment", tzinfo=NEW_YORK)).values("month")
    both(lambda alias: list(monthly.using(alias).annotate(count=Count("id")).order_by("month")))


@pytest.mark.parametrize(
    ("lookup", "value"),
    [
        ("moment__date", datetime.date(2020, 3, 3)),
        ("moment__time__gt", datetime.time(5)),
        ("moment__year", 2020),
        ("moment__month", 3),
        ("moment__week_day", 2),
        ("moment__hour__in", [5, 6]),
        ("moment__iso_year__gte", 2020),
        ("day__quarter", 2),
        ("day__week", 10),
        ("clock__hour", 5),
        ("moment__lt", F("moment") + F("span")),
        ("span__gt", F("moment") - Value(datetime.datetime(2020, 6, 1, tzinfo=UTC))),
    ],
)
def test_rows_are_found_by_parts_of_their_dates(both, lookup, value):
    assert both(lambda alias: Book.objects.using(alias).filter(**{lookup: value}).count()) > 0


def test_window_functions_work(both):
    number = Window(fn.RowNumber(), partition_by="author", order_by="id")
    both(functools.partial(annotated, Book, number))


def test_random_numbers_are_between_0_and_1(both):
    drawn = Author.objects.annotate(drawn=fn.Random()).filter(drawn__gte=0, drawn__lt=1)
    assert both(lambda alias: drawn.using(alias).count()) == len(NAMES)


@pytest.mark.parametrize("digest", [fn.MD5, fn.SHA1, fn.SHA224, fn.SHA256, fn.SHA384, fn.SHA512])
def test_digests_are_refused_before_anything_is_sent(both, digest):
    refusal = pytest.raises(NotSupportedError, match=rf"{digest.__name__}\(\) is not supported.*hashlib")
    with driver.count_trips() as trips, refusal:
        annotated(Author, digest("name"), "durable_object")
    assert trips.count == 0


def test_statistics_leave_null_out_and_are_null_where_there_are_too_few(both):
    books = Book.objects.using("durable_object").filter(id__in=[1, 2, 60])
    assert books.aggregate(result=Variance("number")) == {"result": 2.25}
    assert books.filter(id__gt=1).aggregate(result=Variance("number", sample=True)) == {"result": None}


@pytest.mark.parametrize("statistic", [StdDev, Variance])
def test_statistics_of_values_too_close_together_for_their_size_are_refused(both, statistic):
    books = Book.objects.using("durable_object").annotate(big=F("number") + 10**9)
    with pytest.raises(OperationalError, match="Subtract a constant near their mean"):
        books.aggregate(result=statistic("big"))
    expected = Book.objects.using("stock").filter(id__lt=60).aggregate(result=statistic("number"))["result"]
    assert books.aggregate(result=statistic(F("big") - 10**9))["result"] == pytest.approx(expected)


def test_statistics_of_equal_values_are_0(both):
    one_float = F("weight") / F("weight") * Value(1e9 / 3)
    assert Book.objects.using("durable_object").aggregate(result=StdDev(one_float)) == {"result": 0.0}


@pytest.mark.parametrize("statistic", [StdDev, Variance])
def test_statistics_over_a_window_are_refused_before_anything_is_sent(both, statistic):
    refusal = pytest.raises(NotSupportedError, match=rf"{statistic.__name__}\(\) as a window function")
    with driver.count_trips() as trips, refusal:
        annotated(Book, Window(statistic("number")), "durable_object")
    assert trips.count == 0
