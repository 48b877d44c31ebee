"""Date and time functions in SQLite's own SQL: they take Fragments that give texts as Django stores them."""

from django.db import OperationalError

from . import functions_zones as zones
from .fragments import Fragment, fill

# Fractions are cut off before SQLite's functions see them: it keeps milliseconds, and rounds 59.9996 s up.
# Percent signs are doubled throughout: parameters always go with the statement.
FIRST_SECOND = 62167219200  # from year 0 to 1970, so that every moment is a positive number
MICROSECOND = 1_000_000
DAY = 86400 * MICROSECOND

EXTRACT = {
    "year": "CAST(strftime('%%Y', substr({v}, 1, 19)) AS INTEGER)",
    "iso_year": "CAST(strftime('%%G', substr({v}, 1, 19)) AS INTEGER)",
    "quarter": "((CAST(strftime('%%m', substr({v}, 1, 19)) AS INTEGER) + 2) / 3)",
    "month": "CAST(strftime('%%m', substr({v}, 1, 19)) AS INTEGER)",
    "week": "CAST(strftime('%%V', substr({v}, 1, 19)) AS INTEGER)",
    "week_day": "(CAST(strftime('%%w', substr({v}, 1, 19)) AS INTEGER) + 1)",
    "iso_week_day": "CAST(strftime('%%u', substr({v}, 1, 19)) AS INTEGER)",
    "day": "CAST(strftime('%%d', substr({v}, 1, 19)) AS INTEGER)",
    "hour": "CAST(strftime('%%H', substr({v}, 1, 19)) AS INTEGER)",
    "minute": "CAST(strftime('%%M', substr({v}, 1, 19)) AS INTEGER)",
    "second": "CAST(strftime('%%S', substr({v}, 1, 19)) AS INTEGER)",
    "microsecond": "CAST(substr(substr({v}, 21) || '000000', 1, 6) AS INTEGER)",
}
TIME_EXTRACT = {
    "hour": "CAST(strftime('%%H', substr({v}, 1, 8)) AS INTEGER)",
    "minute": "CAST(strftime('%%M', substr({v}, 1, 8)) AS INTEGER)",
    "second": "CAST(strftime('%%S', substr({v}, 1, 8)) AS INTEGER)",
    "microsecond": "CAST(substr(substr({v}, 10) || '000000', 1, 6) AS INTEGER)",
}
DATE_TRUNC = {
    "year": "strftime('%%Y-01-01', substr({v}, 1, 19))",
    "quarter": "(strftime('%%Y-', substr({v}, 1, 19)) || substr('010101040404070707101010', "
    "2 * CAST(strftime('%%m', substr({v}, 1, 19)) AS INTEGER) - 1, 2) || '-01')",
    "month": "strftime('%%Y-%%m-01', substr({v}, 1, 19))",
    # Backwards first: the last week of 9999 has no end, and a Monday must stay where it is.
    "week": "date(substr({v}, 1, 19), '-6 days', 'weekday 1')",
    "day": "strftime('%%Y-%%m-%%d', substr({v}, 1, 19))",
}
DATETIME_TRUNC = {
    "hour": "strftime('%%Y-%%m-%%d %%H:00:00', substr({v}, 1, 19))",
    "minute": "strftime('%%Y-%%m-%%d %%H:%%M:00', substr({v}, 1, 19))",
    "second": "strftime('%%Y-%%m-%%d %%H:%%M:%%S', substr({v}, 1, 19))",
}
# Times and datetimes both come here: cut at the point, wherever it is.
TIME_TRUNC = {
    "hour": "strftime('%%H:00:00', substr({v}, 1, instr({v} || '.', '.') - 1))",
    "minute": "strftime('%%H:%%M:00', substr({v}, 1, instr({v} || '.', '.') - 1))",
    "second": "strftime('%%H:%%M:%%S', substr({v}, 1, instr({v} || '.', '.') - 1))",
}


def _choose(templates, lookup_type, value):
    template = templates.get(lookup_type.lower())
    if template is None:
        raise OperationalError(f"Unsupported lookup type: {lookup_type!r}")
    return fill(template, v=value)


def extract(lookup_type, value):
    """A part of a date or datetime, an integer."""
    return _choose(EXTRACT, lookup_type, value)


def time_extract(lookup_type, value):
    """A part of a time, an integer."""
    return _choose(TIME_EXTRACT, lookup_type, value)


def date_trunc(lookup_type, value):
    """The first day of the period, as `YYYY-MM-DD`."""
    return _choose(DATE_TRUNC, lookup_type, value)


def datetime_trunc(lookup_type, value):
    """The first moment of the period, as `YYYY-MM-DD HH:MM:SS`."""
    if lookup_type.lower() in DATE_TRUNC:
        return fill("({date} || ' 00:00:00')", date=date_trunc(lookup_type, value))
    return _choose(DATETIME_TRUNC, lookup_type, value)


def time_trunc(lookup_type, value):
    """The first moment of the period in its day, as `HH:MM:SS`; takes times and datetimes."""
    return _choose(TIME_TRUNC, lookup_type, value)


def cast_date(value):
    """The date of a datetime."""
    return _choose(DATE_TRUNC, "day", value)


def cast_time(value):
    """The time of a datetime with its microseconds; midnight for a date alone."""
    return fill("substr({v} || iif(length({v}) = 10, ' 00:00:00', ''), 12)", v=value)


def microseconds(value):
    """Microseconds since 1970 of a date or datetime; those of a time count from one fixed day."""
    return fill(
        f"(unixepoch(substr({{v}}, 1, instr({{v}} || '.', '.') - 1)) * {MICROSECOND} + "
        "CAST(substr(substr({v}, instr({v} || '.', '.') + 1) || '000000', 1, 6) AS INTEGER))",
        v=value,
    )


def subtract(lhs, rhs):
    """Microseconds from `rhs` to `lhs`: two dates, datetimes or times."""
    return fill("({lhs} - {rhs})", lhs=microseconds(lhs), rhs=microseconds(rhs))


def add_duration(value, connector, duration):
    """A datetime moved by microseconds (`connector` + or -), as text; with a fraction if there is one."""
    total = fill(
        f"({{moment}} + {FIRST_SECOND * MICROSECOND} {connector} ({{duration}}))",
        moment=microseconds(value),
        duration=duration,
    )
    return fill(
        f"(datetime({{total}} / {MICROSECOND} - {FIRST_SECOND}, 'unixepoch') || "
        f"replace(printf('.%%06d', {{total}} %% {MICROSECOND}), '.000000', ''))",
        total=total,
    )


def add_duration_to_date(value, connector, duration):
    """A date moved by the days of a duration: its whole days, rounded down, as Python's date takes them."""
    return fill(
        f"date(substr({{v}}, 1, 10), "
        f"(0 {connector} ({{d}} - (({{d}} %% {DAY}) + {DAY}) %% {DAY}) / {DAY}) || ' days')",
        v=value,
        d=fill("({d})", d=duration),
    )


def to_zone(value, wanted, stored, *, inline=False):
    """A datetime text of zone `stored` as the clock of zone `wanted` shows it; `wanted` None: as it is.

    Written as a subquery, so that input and table stand in the statement once; `inline` repeats them
    instead, for aggregates and window functions, which cannot stand inside a subquery's FROM.
    """
    if not wanted or wanted == stored:
        return Fragment(*value)
    name, seconds = zones.split_offset(wanted)
    if seconds:
        shifted = f"(datetime(substr({{v}}, 1, 19), '{seconds:+d} seconds') || substr({{v}}, 20))"
        value = fill(shifted, v=value)
    if not name or name == stored:
        return Fragment(*value)
    table = zones.zone_table(stored, name)
    if inline:
        return fill(_moved(table), v=value, y=fill(_changes(table), v=value, table=("%s", (table.text,))))
    row = fill(
        "SELECT v, {y} AS y FROM (SELECT {value} AS v, %s AS z)".replace("%s", "{table}"),
        y=fill(_changes(table), v=("v", ()), table=("z", ())),
        value=value,
        table=("%s", (table.text,)),
    )
    return fill("(SELECT {moved} FROM ({row}))", moved=fill(_moved(table), v=("v", ()), y=("y", ())), row=row)


def _changes(table):
    """SQL for the JSON list of a year's changes: by the year, by its kind, or those before all others."""
    kind = "strftime('%%w-%%j', substr({v}, 1, 4) || '-12-31')"
    # Of the column itself the affinity would make a number of the year, and every text is above those.
    key = f"iif(substr({{v}}, 1, 4) < '{table.rule_from}', substr({{v}}, 1, 4), {kind})"
    return f"""coalesce({{table}} -> ('$."' || {key} || '"'), {{table}} -> '$.""')"""


def _moved(table):
    """SQL that moves `{v}` by the shift of `{y}`, its year's changes, that holds at its moment."""
    cases = "".join(
        f" WHEN {{y}} ->> {2 * n + 1} IS NULL OR substr({{v}}, 6, 14) < {{y}} ->> {2 * n + 1} "
        f"THEN {{y}} ->> {2 * n}"
        for n in range(table.most)
    )
    seconds = f"CASE{cases} ELSE {{y}} ->> {2 * table.most} END" if table.most else "{y} ->> 0"
    return f"(datetime(substr({{v}}, 1, 19), ({seconds}) || ' seconds') || substr({{v}}, 20))"
