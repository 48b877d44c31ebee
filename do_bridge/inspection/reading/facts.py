"""Live numbers for the list of databases, read within a short time."""

import time
from datetime import UTC

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from do_bridge import driver
from do_bridge.tenancy.lifecycle import ledger

from . import queries
from .differences import activity_columns, history

SECONDS = 3.0


def facts(database):
    """Return the live numbers of a database as a dictionary.

    Its keys are state, text, tables, rows, is_more, activity, size and ms. Raises no database error: `state`
    is History's, or "slow" (no answer within SECONDS), or "dead"; then the numbers are None.
    """
    start = time.monotonic()
    try:
        found = _ask(database, SECONDS)
    except driver.Error as error:
        spent = time.monotonic() - start
        state = "slow" if spent >= SECONDS * 0.9 else "dead"
        text = f"no answer within {SECONDS:g} s" if state == "slow" else short(error)
        found = {
            "state": state,
            "text": text,
            "tables": None,
            "rows": None,
            "is_more": False,
            "activity": None,
        }
    return {"size": None, **found, "ms": round((time.monotonic() - start) * 1000)}


def _ask(database, seconds):
    end = time.monotonic() + seconds
    with database.connect(seconds) as connection:
        names = queries.table_names(connection)
        connection.timeout = max(0.05, end - time.monotonic())
        counts, applied, newest = queries.look(connection, names, activity_columns(database.alias))
        connection.timeout = max(0.05, end - time.monotonic())
        size = size_of(connection)
    known = history(applied)
    return {
        "state": known.state,
        "text": known.text,
        "tables": len(names),
        "rows": sum(min(count, queries.COUNT_LIMIT) for count in counts.values()),
        "is_more": any(count > queries.COUNT_LIMIT for count in counts.values()),
        "activity": moment(newest),
        "size": size,
    }


def size_of(connection):
    """Return the bytes on disk, or None if they are not known.

    Cloudflare's REST API and older relays don't report them.
    """
    try:
        return connection.size()
    except driver.Error:
        return None


def ledger_states(slugs):
    """Return [(slug, TenantState or None)] of the given slugs.

    All states are None if D1 has no ledger yet. Takes one round trip.
    """
    try:
        known = ledger.states(slugs) if slugs else {}
    except ledger.LedgerMissing:
        known = {}
    return [(slug, known.get(slug)) for slug in slugs]


def moment(text):
    """Return the aware datetime that the database holds as `text`, in UTC, or None."""
    found = parse_datetime(text) if text else None
    if found is not None and timezone.is_naive(found):
        found = found.replace(tzinfo=UTC)
    return found


def short(error):
    """Return an error's first sentence or two, for a line in a list."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:199]}…"
