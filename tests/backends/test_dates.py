"""Date and time functions against those of Django's sqlite3 backend, which are Python's."""

import datetime
import json
import random

import pytest
from django.db import OperationalError
from django.db.backends.sqlite3 import _functions as stock

from do_bridge.backends.remote_sqlite.functions import datetimes as dates
from do_bridge.backends.remote_sqlite.functions import zones as zones

VALUE = ("v", ())
EDGES = [
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "1999-12-31 23:59:59.999600",
    "1969-12-31 23:59:59.999999",
    "2000-02-29 12:00:00",
    "2024-12-30 00:00:00.000001",
    "2021-01-03 00:00:00",
]
ZONES = [
    "America/New_York",
    "Europe/London",
    "Europe/Dublin",  # its summer time is the standard one
    "Africa/Casablanca",  # announced until 2087, against the month of Ramadan
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # skipped a day
    "America/Sao_Paulo",  # gave it up
    "Asia/Kolkata",
    "Antarctica/Troll",
]


def moments():
    """Datetimes as text: the edges, and many instants of all years, most of them recent."""
    chance = random.Random(5)  # noqa: S311
    result = list(EDGES)
    for _ in range(600):
        year = chance.choice(
            [chance.randint(2, 9998), chance.randint(1880, 2040), chance.randint(1960, 2040)]
        )
        moment = datetime.datetime(year, chance.randint(1, 12), chance.randint(1, 28))
        moment += datetime.timedelta(seconds=chance.randint(0, 86399))
        result.append(str(moment.replace(microsecond=chance.choice([0, chance.randint(0, 999_999)]))))
    return result


MOMENTS = moments()
DAYS = [moment[:10] for moment in MOMENTS]
TIMES = [moment[11:] for moment in MOMENTS]
# A shift of zone or time has to stay within Python's years.
INNER = [moment for moment in MOMENTS if "0002" < moment < "9999"]


def transitions(zone):
    """The moments of UTC at which a zone's clock moves, and just before."""
    result = []
    for year, changes in json.loads(zones.zone_table("UTC", zone).text).items():
        for change in changes[1::2] if year.isdigit() and 1800 <= int(year) <= 2100 else ():
            moment = datetime.datetime.fromisoformat(f"{year}-{change}")
            result += [str(moment), str(moment - datetime.timedelta(microseconds=1))]
    return result


@pytest.fixture(scope="module")
def compute(local_worker, django_db_blocker):
    """compute(make, values): the result of the SQL that `make` gives, for each value, in one statement.

    Asked of a column of Django's type, whose affinity takes part in comparisons, and of a bare value.
    """
    from engine_aliases import alias_for

    with django_db_blocker.unblock(), alias_for("durable_object", local_worker) as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE given (k integer PRIMARY KEY, v datetime)")

        def compute(make, values):
            sql, params = make(VALUE)
            with connection.cursor() as cursor:
                cursor.execute(
                    "REPLACE INTO given SELECT key, value FROM json_each(%s)", (json.dumps(values),)
                )
                cursor.execute(f"SELECT {sql} FROM given WHERE k < {len(values)} ORDER BY k", params)
                stored = [row[0] for row in cursor.fetchall()]
                bare = "SELECT value AS v, key AS k FROM json_each(%s)"
                cursor.execute(f"SELECT {sql} FROM ({bare}) ORDER BY k", (*params, json.dumps(values)))
                assert [row[0] for row in cursor.fetchall()] == stored
            return stored

        yield compute


def assert_as_stock(compute, make, values, right):
    found = compute(make, [*values, None])
    assert found.pop() is None
    wrong = [(value, result) for value, result in zip(values, found, strict=True) if result != right(value)]
    assert wrong == []


@pytest.mark.parametrize("part", dates.EXTRACT)
def test_parts_of_datetimes_and_dates_are_exact(compute, part):
    def right(value):
        return stock._sqlite_datetime_extract(part, value)

    assert_as_stock(compute, lambda v: dates.extract(part, v), MOMENTS, right)
    if part not in ("hour", "minute", "second", "microsecond"):
        assert_as_stock(compute, lambda v: dates.extract(part, v), DAYS, right)


@pytest.mark.parametrize("part", dates.TIME_EXTRACT)
def test_parts_of_times_are_exact(compute, part):
    def right(value):
        return stock._sqlite_time_extract(part, value)

    assert_as_stock(compute, lambda v: dates.time_extract(part, v), TIMES, right)


@pytest.mark.parametrize("kind", dates.DATE_TRUNC)
def test_dates_are_truncated_to_their_period(compute, kind):
    def right(value):
        return stock._sqlite_date_trunc(kind, value, None, None)

    assert_as_stock(compute, lambda v: dates.date_trunc(kind, v), MOMENTS, right)
    assert_as_stock(compute, lambda v: dates.date_trunc(kind, v), DAYS, right)


@pytest.mark.parametrize("kind", [*dates.DATE_TRUNC, *dates.DATETIME_TRUNC])
def test_datetimes_are_truncated_to_their_period(compute, kind):
    def right(value):
        return stock._sqlite_datetime_trunc(kind, value, None, None)

    assert_as_stock(compute, lambda v: dates.datetime_trunc(kind, v), MOMENTS, right)


@pytest.mark.parametrize("kind", dates.TIME_TRUNC)
def test_times_are_truncated_to_their_period(compute, kind):
    def right(value):
        return stock._sqlite_time_trunc(kind, value, None, None)

    assert_as_stock(compute, lambda v: dates.time_trunc(kind, v), MOMENTS + TIMES, right)


def test_a_datetime_has_a_date_and_a_time_with_its_microseconds(compute):
    assert_as_stock(
        compute, dates.cast_date, MOMENTS, lambda v: stock._sqlite_datetime_cast_date(v, None, None)
    )
    assert_as_stock(
        compute, dates.cast_time, MOMENTS, lambda v: stock._sqlite_datetime_cast_time(v, None, None)
    )


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("inline", [False, True])
def test_every_instant_is_shown_as_the_zones_clock_does(compute, zone, inline):
    def right(value):
        return stock._sqlite_datetime_trunc("second", value, zone, "UTC")

    def make(value):
        return dates.datetime_trunc("second", dates.to_zone(value, zone, "UTC", inline=inline))

    assert_as_stock(compute, make, INNER + transitions(zone), right)


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("Europe/London", "America/New_York"),
        ("America/New_York", "UTC"),
        ("UTC", "UTC+05:30"),
        ("UTC", "Europe/Paris-01:00"),
        ("America/New_York", "+03:00"),
    ],
)
def test_a_database_may_keep_another_zone_than_utc(compute, stored, wanted):
    def right(value):
        return stock._sqlite_datetime_trunc("second", value, wanted, stored)

    def make(value):
        return dates.datetime_trunc("second", dates.to_zone(value, wanted, stored))

    assert_as_stock(compute, make, INNER, right)


def test_a_zone_moves_the_clock_and_keeps_the_microseconds(compute):
    moved = compute(lambda v: dates.to_zone(v, "Asia/Kolkata", "UTC"), ["2024-01-01 20:00:00.000007"])
    assert moved == ["2024-01-02 01:30:00.000007"]


@pytest.mark.parametrize("microseconds", [1, 999_999, 40 * 86_400_000_000 + 5, -3])
@pytest.mark.parametrize("sign", ["+", "-"])
def test_durations_move_datetimes_and_dates(compute, microseconds, sign):
    duration = ("%s", (microseconds,))

    def right(value):
        return stock._sqlite_format_dtdelta(sign, value, microseconds)

    inner = [moment for moment in MOMENTS if "0100" < moment < "9900"]
    assert_as_stock(compute, lambda v: dates.add_duration(v, sign, duration), inner, right)
    days = [moment[:10] for moment in inner]
    assert_as_stock(compute, lambda v: dates.add_duration_to_date(v, sign, duration), days, right)


def test_the_time_between_two_moments_is_exact_to_the_microsecond(compute):
    other = "2000-01-01 10:00:00.5"
    assert_as_stock(
        compute,
        lambda v: dates.subtract(v, ("%s", (other,))),
        MOMENTS,
        lambda v: stock._sqlite_timestamp_diff(v, other),
    )
    assert_as_stock(
        compute,
        lambda v: dates.subtract(v, ("%s", (other[11:],))),
        TIMES,
        lambda v: stock._sqlite_time_diff(v, other[11:]),
    )


def test_an_unknown_part_is_refused():
    with pytest.raises(OperationalError, match="Unsupported lookup type: 'century'"):
        dates.extract("century", VALUE)
