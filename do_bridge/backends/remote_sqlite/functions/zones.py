"""Compute time zones for a database that has none.

When a zone's clock changes is sent as one JSON text.
"""

import datetime
import functools
import json
import zoneinfo
from typing import NamedTuple

from django.db.backends.utils import split_tzname_delta
from django.utils.dateparse import parse_time

DAY = datetime.timedelta(days=1)
# Before the first year no zone of the database had left local mean time; after the last all follow a rule.
FIRST_YEAR, LAST_YEAR = 1800, 2100
TEXT = "%m-%d %H:%M:%S"


def split_offset(tzname):
    """Split a name like `Europe/Paris+02:00` or `+0300` into (zone name, seconds).

    The zone name may be empty. The seconds are added before the zone's own shift.
    """
    name, sign, offset = split_tzname_delta(tzname)
    if not offset:
        return name, 0
    time = parse_time(offset if offset.count(":") < 2 else offset[:-3])
    seconds = time.hour * 3600 + time.minute * 60
    return name, seconds if sign == "+" else -seconds


def shift_of(stored, wanted):
    """Return a function that returns the shift from zone `stored` to zone `wanted`.

    It takes a naive datetime of zone `stored` and returns a timedelta.
    """

    # UTC's edges: a shift outside the years 1 to 9999 has no answer in Python, and none is needed.
    def shift(moment):
        aware = moment.replace(tzinfo=stored)
        return wanted.utcoffset(_in_zone(aware, wanted)) - stored.utcoffset(aware)

    return shift


def _in_zone(aware, zone):
    try:
        return aware.astimezone(zone)
    except OverflowError:
        return aware.replace(tzinfo=zone)


def changes_of_year(shift, year):
    """Return the shifts of a year and the moments between them.

    They are [seconds, "MM-DD HH:MM:SS", seconds, …].
    """
    moment = datetime.datetime(year, 1, 1)
    current = shift(moment)
    changes = [int(current.total_seconds())]
    while moment.year == year:
        after = moment + DAY
        if (new := shift(after)) != current:
            changed = _first_moment_of(shift, new, moment, after)
            if changed.year != year:
                break
            changes += [changed.strftime(TEXT), int(new.total_seconds())]
            current = new
        moment = after
    return changes


def _first_moment_of(shift, new, before, after):
    """Return the first whole second in (before, after] that has the shift `new`."""
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if shift(before + datetime.timedelta(seconds=middle)) == new:
            high = middle
        else:
            low = middle
    return before + datetime.timedelta(seconds=high)


def kind_of_year(year):
    """Return the key of a year's calendar: the last day's strftime("%w-%j").

    It has the weekday and the length of the year.
    """
    return datetime.date(year, 12, 31).strftime("%w-%j")


class ZoneTable(NamedTuple):
    """When the clock of one zone moves against another's."""

    text: str
    """JSON object: year, or kind of year -> [seconds, moment, seconds, …]; "" -> the years before."""
    rule_from: int
    """The first year from which on the kind of a year alone decides."""
    most: int
    """The most changes in one year."""


@functools.lru_cache(maxsize=64)
def zone_table(stored_name, wanted_name):
    """Return the ZoneTable for datetimes of one zone that are shown in another."""
    shift = shift_of(zoneinfo.ZoneInfo(stored_name), zoneinfo.ZoneInfo(wanted_name))
    kinds = {}
    for year in range(LAST_YEAR + 1, LAST_YEAR + 401):
        if (kind := kind_of_year(year)) not in kinds:
            kinds[kind] = changes_of_year(shift, year)
    years = {year: changes_of_year(shift, year) for year in range(FIRST_YEAR, LAST_YEAR + 1)}
    rule_from = LAST_YEAR + 1
    while years.get(rule_from - 1) == kinds[kind_of_year(rule_from - 1)]:
        rule_from -= 1
    before = years[FIRST_YEAR][:1]
    table = {str(year): years[year] for year in range(FIRST_YEAR, rule_from) if years[year] != before}
    table |= kinds | {"": before}
    most = max(len(changes) // 2 for changes in table.values())
    return ZoneTable(json.dumps(table, separators=(",", ":")), rule_from, most)
