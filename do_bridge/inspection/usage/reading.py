"""Usage sums from D1: the last day, the last month, and the costs.

The day is read by hours and the month by days. The costs are those of this month.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Sum
from django.utils import timezone

from do_bridge.prices import d1_dollars, object_dollars
from do_bridge.tenancy.conf import conf

from .counting import FIELDS, day, hour
from .models import Look, Usage

HOURS, DAYS = 24, 31


@dataclass(frozen=True)
class Bar:
    """The use of one hour or day."""

    start: datetime
    calls: int = 0
    rows_read: int = 0
    rows_written: int = 0


@dataclass(frozen=True)
class Series:
    """The last 24 hours and 31 days of a database, oldest first."""

    hours: list
    days: list


def _all(model):
    return model._base_manager.using(conf("DIRECTORY_ALIAS"))


def series(alias, now=None):
    """Return the Series of a database; one round trip."""
    now = now or datetime.now(UTC)
    first_day, first_hour = day(hour(now)) - timedelta(days=DAYS - 1), hour(now) - timedelta(hours=HOURS - 1)
    rows = _all(Usage).filter(database=alias, start__gte=first_day)
    hours = {first_hour + timedelta(hours=number): [0, 0, 0] for number in range(HOURS)}
    days = {first_day + timedelta(days=number): [0, 0, 0] for number in range(DAYS)}
    for start, length, *figures in rows.values_list("start", "hours", "calls", "rows_read", "rows_written"):
        if length == 1 and start in hours:
            hours[start] = [sum(pair) for pair in zip(hours[start], figures, strict=True)]
        if (date := day(start)) in days:
            days[date] = [sum(pair) for pair in zip(days[date], figures, strict=True)]
    return Series(*([Bar(start, *figures) for start, figures in bars.items()] for bars in (hours, days)))


def month_dollars(sizes, now=None):
    """Return {alias: about what it costs this month, in dollars}; one round trip.

    `sizes` are {alias: bytes or None} of the databases asked for. Included amounts are not taken off.
    """
    first = day(hour(now or timezone.now())).astimezone(UTC).replace(day=1)
    rows = _all(Usage).filter(database__in=list(sizes), start__gte=first).order_by().values("database")
    sums = {
        row.pop("database"): row for row in rows.annotate(**{f"all_{name}": Sum(name) for name in FIELDS})
    }
    found = {}
    for alias, size in sizes.items():
        used = {name: sums.get(alias, {}).get(f"all_{name}", 0) for name in FIELDS}
        del used["milliseconds"]
        used["size"] = size or 0
        if alias == conf("DIRECTORY_ALIAS"):
            del used["writes"]
            found[alias] = d1_dollars(**used)
        else:
            found[alias] = object_dollars(**used)
    return found


def note_looks(found, now=None):
    """Store the results of looks at databases.

    `found` is {alias: facts}, with the facts that `reading.facts.facts` returns. A look without an answer
    keeps the numbers of the last one that had one. One or two round trips.
    """
    now, silent, told = now or timezone.now(), [], []
    for alias, facts in found.items():
        look = Look(database=alias, state=facts["state"], seen=now)
        if facts["rows"] is None:
            silent.append(look)
            continue
        for name in _NUMBERS:
            setattr(look, name, facts[name])
        told.append(look)
    for looks, names in ((silent, ()), (told, _NUMBERS)):
        if looks:
            _all(Look).bulk_create(
                looks,
                update_conflicts=True,
                unique_fields=["database"],
                update_fields=["state", "seen", *names],
            )


_NUMBERS = ("size", "rows", "is_more", "activity")
