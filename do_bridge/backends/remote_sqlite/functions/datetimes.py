"""Write date and time functions in SQLite's own SQL.

They work on Fragments that hold texts as Django stores them.
"""

from django.db import OperationalError

from . import zones as zones
from .fragments import Fragment, fill

# Fractions are cut off before SQLite's functions see them: it keeps milliseconds, and rounds 59.9996 s up.
# Percent signs are doubled throughout: parameters always go with the statement.
FIRST_SECOND = 62167219200  # from year 0 to 1970, so that every moment is a positive number
MICROSECOND = 1_000_000
DAY = 86400 * MICROSECOND
# SQLite's functions also accept day numbers, 'now', a time alone and ISO's T, which Django's own functions
# read as NULL. With a midnight appended a date stays valid, and none of those does.
MOMENT = "substr(replace({v}, 'T', '?') || ' 00:00:00', 1, 19)"
# The same for a time: without its seconds it becomes invalid, and so does a number.
TIME = "substr({v} || '?', 1, 8) || 'Z'"

EXTRACT = {
    "year": "CAST(strftime('%%Y', {moment}) AS INTEGER)",
    "iso_year": "CAST(strftime('%%G', {moment}) AS INTEGER)",
    "quarter": "((CAST(strftime('%%m', {moment}) AS INTEGER) + 2) / 3)",
    "month": "CAST(strftime('%%m', {moment}) AS INTEGER)",
    "week": "CAST(strftime('%%V', {moment}) AS INTEGER)",
    "week_day": "(CAST(strftime('%%w', {moment}) AS INTEGER) + 1)",
    "iso_week_day": "CAST(strftime('%%u', {moment}) AS INTEGER)",
    "day": "CAST(strftime('%%d', {moment}) AS INTEGER)",
    "hour": "CAST(strftime('%%H', {moment}) AS INTEGER)",
    "minute": "CAST(strftime('%%M', {moment}) AS INTEGER)",
    "second": "CAST(strftime('%%S', {moment}) AS INTEGER)",
    "microsecond": "CASE WHEN substr({v}, 20, 1) = '.' THEN CAST(substr(substr({v}, 21) || '000000', 1, 6) "
    "AS INTEGER) WHEN julianday({moment}) IS NOT NULL THEN 0 END",
}
TIME_EXTRACT = {
    "hour": "CAST(strftime('%%H', {time}) AS INTEGER)",
    "minute": "CAST(strftime('%%M', {time}) AS INTEGER)",
    "second": "CAST(strftime('%%S', {time}) AS INTEGER)",
    "microsecond": "CASE WHEN julianday({time}) IS NOT NULL "
    "THEN CAST(substr(substr({v}, 10) || '000000', 1, 6) AS INTEGER) END",
}
DATE_TRUNC = {
    "year": "strftime('%%Y-01-01', {moment})",
    "quarter": "(strftime('%%Y-', {moment}) || substr('010101040404070707101010', "
    "2 * CAST(strftime('%%m', {moment}) AS INTEGER) - 1, 2) || '-01')",
    "month": "strftime('%%Y-%%m-01', {moment})",
    # Backwards first: the last week of 9999 has no end, and a Monday must stay where it is.
    "week": "date({moment}, '-6 days', 'weekday 1')",
    "day": "strftime('%%Y-%%m-%%d', {moment})",
}
DATETIME_TRUNC = {
    "hour": "strftime('%%Y-%%m-%%d %%H:00:00', {moment})",
    "minute": "strftime('%%Y-%%m-%%d %%H:%%M:00', {moment})",
    "second": "strftime('%%Y-%%m-%%d %%H:%%M:%%S', {moment})",
}
# Both times and datetimes come here.
TIME_TRUNC = {
    unit: f"coalesce(strftime('{form}', {{time}}), strftime('{form}', {{moment}}))"
    for unit, form in {"hour": "%%H:00:00", "minute": "%%H:%%M:00", "second": "%%H:%%M:%%S"}.items()
}


def _choose(templates, lookup_type, value):
    template = templates.get(lookup_type.lower())
    if template is None:
        raise OperationalError(f"Unsupported lookup type: {lookup_type!r}")
    return _guarded(template, value)


def _guarded(template, value):
    """Fill a template with the value as `{v}`.

    `{moment}` and `{time}` are checked forms of it: their functions are NULL if it is invalid.
    """
    return fill(template, v=value, moment=fill(MOMENT, v=value), time=fill(TIME, v=value))


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
    """Return SQL for the first moment of the period in its day, as `HH:MM:SS`.

    It takes times and datetimes.
    """
    return _choose(TIME_TRUNC, lookup_type, value)


def cast_date(value):
    """The date of a datetime."""
    return _choose(DATE_TRUNC, "day", value)


def cast_time(value):
    """The time of a datetime with its microseconds; midnight for a date alone."""
    return _guarded(
        "(strftime('%%H:%%M:%%S', {moment}) || iif(substr({v}, 20, 1) = '.', substr({v}, 20, 7), ''))", value
    )


def microseconds(value):
    """Return SQL for the microseconds since 1970 of a date or datetime.

    Those of a time count from a fixed day.
    """
    return fill(
        "(unixepoch(iif(typeof({v}) = 'text', substr({v}, 1, instr({v} || '.', '.') - 1), NULL)) * "
        f"{MICROSECOND} + "
        "CAST(substr(substr({v}, instr({v} || '.', '.') + 1) || '000000', 1, 6) AS INTEGER))",
        v=value,
    )


def subtract(lhs, rhs):
    """Microseconds from `rhs` to `lhs`: two dates, datetimes or times."""
    return fill("({lhs} - {rhs})", lhs=microseconds(lhs), rhs=microseconds(rhs))


def add_duration(value, connector, duration):
    """Return SQL for a datetime moved by microseconds, as text.

    `connector` is + or -. The text has a fraction if the result has one.
    """
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
    """Return SQL for a date moved by the whole days of a duration, rounded down.

    Python's date does the same.
    """
    return fill(
        f"date({{moment}}, (0 {connector} ({{d}} - (({{d}} %% {DAY}) + {DAY}) %% {DAY}) / {DAY}) || ' days')",
        moment=fill(MOMENT, v=value),
        d=fill("({d})", d=duration),
    )


def to_zone(value, wanted, stored, *, inline=False):
    """Return SQL for a datetime of zone `stored` as text in zone `wanted`.

    If `wanted` is None, the text is not changed. It is a subquery, so that input and table stand in the
    statement once. `inline` repeats them instead, for aggregates and window functions, which cannot stand
    inside a subquery's FROM.
    """
    if not wanted or wanted == stored:
        return Fragment(*value)
    name, seconds = zones.split_offset(wanted)
    if seconds:
        shifted = f"(datetime({{moment}}, '{seconds:+d} seconds') || substr({{v}}, 20))"
        value = _guarded(shifted, value)
    if not name or name == stored:
        return Fragment(*value)
    table = zones.zone_table(stored, name)
    if inline:
        return _shifted(table, value, _changes(table, value, ("%s", (table.text,))))
    row = fill(
        "SELECT v, {y} AS y FROM (SELECT {value} AS v, %s AS z)".replace("%s", "{table}"),
        y=_changes(table, ("v", ()), ("z", ())),
        value=value,
        table=("%s", (table.text,)),
    )
    return fill("(SELECT {moved} FROM ({row}))", moved=_shifted(table, ("v", ()), ("y", ())), row=row)


def _changes(table, value, text):
    """Return SQL for the JSON list of a year's changes.

    The list is that of the year, or from the table's `rule_from` on that of the year's kind. Other years have
    the list before all others.
    """
    year = fill("strftime('%%Y', {moment})", moment=fill(MOMENT, v=value))
    kind = "strftime('%%w-%%j', {year} || '-12-31')"
    key = f"iif({{year}} < '{table.rule_from}', {{year}}, {kind})"
    changes = f"""coalesce({{table}} -> ('$."' || {key} || '"'), {{table}} -> '$.""')"""
    return fill(changes, year=year, table=text)


def _shifted(table, value, changes):
    """Return SQL that moves a datetime by the offset valid at that moment.

    The offset comes from its year's changes.
    """
    cases = "".join(
        f" WHEN {{y}} ->> {2 * n + 1} IS NULL OR substr({{v}}, 6, 14) < {{y}} ->> {2 * n + 1} "
        f"THEN {{y}} ->> {2 * n}"
        for n in range(table.most)
    )
    seconds = f"CASE{cases} ELSE {{y}} ->> {2 * table.most} END" if table.most else "{y} ->> 0"
    moved = f"(datetime({{moment}}, ({seconds}) || ' seconds') || substr({{v}}, 20))"
    return fill(moved, v=value, moment=fill(MOMENT, v=value), y=changes)
