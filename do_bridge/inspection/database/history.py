"""The log of statements on the SQL page.

Each use is logged. Users read back their own entries as their history.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from threading import Thread

from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connections

from do_bridge.admin.model_admins import READ
from do_bridge.tenancy.conf import conf

from ..reading import readonly

logger = logging.getLogger("do_bridge.inspection")

LOGGED_TEXT = 10_000
CUT = "…"
SHOWN = 20
_READ_BACK = 60  # entries in which the shown statements are looked for


@dataclass(frozen=True)
class Past:
    """A statement of the history; `is_cut` if only its beginning was logged."""

    sql: str
    outcome: str
    when: datetime
    is_cut: bool


def log(request, database, text, start, outcome):
    """Log who ran which statement, with its database, time and outcome.

    Writes to the log and to D1's admin log.
    """
    spent = (time.perf_counter() - start) * 1000
    short = " ".join(text.split())[:1_000]
    logger.info(
        "SQL on %s by user %s: %.0f ms, %s: %s", database.alias, request.user.pk, spent, outcome, short
    )
    kept = text if len(text) <= LOGGED_TEXT else f"{text[:LOGGED_TEXT]}{CUT}"
    entry = LogEntry(
        user_id=request.user.pk,
        object_id=database.path,
        object_repr=f"SQL on {database.label}"[:200],
        action_flag=READ,
        change_message=f"{spent:.0f} ms, {outcome}\n{kept}",
    )
    if spent < readonly.SECONDS * 1000:
        entry.save(using=conf("DIRECTORY_ALIAS"))
    else:
        # D1 may be as slow as the database, and the page has promised its answer by now.
        Thread(target=_save_later, args=(entry,), daemon=True).start()


def _save_later(entry):
    """Save the entry of the admin log in this thread.

    It uses and closes a connection of its own.
    """
    alias = conf("DIRECTORY_ALIAS")
    try:
        entry.save(using=alias)
    except DatabaseError:
        logger.exception("A long statement on the SQL page could not be recorded in the admin log.")
    finally:
        connections[alias].close()


def past(user, database):
    """Return the user's last statements on a database, the latest first.

    Each statement is listed once. Takes one round trip.
    """
    entries = LogEntry.objects.using(conf("DIRECTORY_ALIAS")).filter(
        user_id=user.pk, object_id=database.path, action_flag=READ
    )
    found = {}
    for when, message in entries.values_list("action_time", "change_message")[:_READ_BACK]:
        outcome, _, sql = message.partition("\n")
        if sql and sql not in found:
            found[sql] = Past(sql.removesuffix(CUT), outcome, when, len(sql) > LOGGED_TEXT)
    return list(found.values())[:SHOWN]
