"""The SQL page: one reading statement, with its result and its plan.

It also shows the history and the saved queries.
"""

import time

from django.contrib import messages
from django.db import IntegrityError
from django.db.models import Q
from django.http import HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from do_bridge import driver
from do_bridge.backends.remote_sqlite import read_only
from do_bridge.tenancy.conf import conf

from ..access import inspection, require_sql
from ..models import SavedQuery
from ..reading import plans, queries, readonly
from . import history
from .shell import shell_context

SECONDS = 10.0
LONGEST_CELL = 120  # characters in the table; the side panel shows more
LONGEST_VALUE = 2_000


@inspection
def sql(site, request, database):
    """Show a form for one reading statement, and its answer; a GET runs nothing."""
    require_sql(request.user)
    is_post = request.method == "POST"
    text = (request.POST if is_post else request.GET).get("sql", "")
    # All of it before the statement, which may keep the database busy beyond its time.
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        queries.counted(connection, tables)
    context = shell_context(site, request, database, tables, tab="sql", title="SQL", sql=text)
    context.update(
        row_limit=readonly.ROW_LIMIT,
        seconds=readonly.SECONDS,
        history=history.past(request.user, database),
        saved=list(_saved_for(database)),
        schema={name: [column.name for column in table.columns] for name, table in tables.items()},
    )
    if is_post:
        context.update(_answer(request, database, text, tables, is_run="plan" not in request.POST))
        # D1 is not asked once more: it may be as slow as the database.
        outcome = context.pop("outcome", "refused")
        latest = history.Past(text, outcome, timezone.now(), False)
        context["history"] = [latest, *(one for one in context["history"] if one.sql != text)]
    return render(request, "do_bridge/inspection/database/sql.html", context)


def _answer(request, database, text, tables, is_run):
    """Run the statement and log it; return the context for the page."""
    start = time.perf_counter()
    found = {}
    try:
        if is_run:
            answer, plan = readonly.run_with_plan(database, text)
        else:
            answer, plan = None, readonly.plan(database, text)
    except read_only.Refused as error:
        history.log(request, database, text, start, f"refused: {error}")
        return {"problem": str(error)}
    except readonly.TimeOver as error:
        history.log(request, database, text, start, type(error).__name__)
        return {"problem": str(error), "outcome": "no answer in time"}
    except driver.Error as error:
        history.log(request, database, text, start, type(error).__name__)
        return {"problem": str(error), "outcome": type(error).__name__}
    found["plan"] = plans.tree(plan.rows, text, tables)
    found["has_advice"] = plans.has_advice(found["plan"])
    if answer is None:
        history.log(request, database, text, start, "plan")
        return {**found, "outcome": "plan"}
    count = len(answer.rows)
    outcome = f"{count} row{'s' * (count != 1)}"
    history.log(request, database, text, start, outcome)
    rows = [[shown(value) for value in line] for line in answer.rows]
    found["columns"] = [
        (name, bool(rows) and all(line[at][0] in ("number", "null") for line in rows))
        for at, name in enumerate(answer.columns)
    ]
    return {**found, "outcome": outcome, "answer": answer, "rows": rows, "ms": answer.seconds * 1000}


def shown(value):
    """Return (kind, text of the cell, text of the side panel) of a value."""
    if value is None:
        return "null", "NULL", ""
    if isinstance(value, bytes):
        return (
            "blob",
            f"{len(value):,} bytes",
            f"{len(value):,} bytes: {value[:64].hex()}{'…' * (len(value) > 64)}",
        )
    if isinstance(value, str):
        whole = (
            value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}… ({len(value):,} characters)"
        )
        return "text", value[:LONGEST_CELL], whole
    return "number", str(value), str(value)


def _saved_for(database):
    condition = Q(database="") | Q(database=database.path)
    return SavedQuery.objects.using(conf("DIRECTORY_ALIAS")).filter(condition)


@inspection
def saved(site, request, database):
    """Save a statement under a name, or delete a saved one, and go back to the page."""
    require_sql(request.user)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    page = reverse("admin:database_sql", args=[database])
    if delete := request.POST.get("delete", ""):
        if delete.isascii() and delete.isdigit() and _saved_for(database).filter(pk=int(delete)).delete()[0]:
            messages.success(request, "The saved query was deleted.")
        return HttpResponseRedirect(page)
    name, text = request.POST.get("name", "").strip()[:100], request.POST.get("sql", "")
    if not name or not text.strip() or len(text) > read_only.LONGEST:
        messages.error(request, "Nothing was saved. A saved query needs a name and a statement.")
    else:
        _save(request, database, name, text)
    return HttpResponseRedirect(page)


def _save(request, database, name, text):
    where = "" if request.POST.get("scope") == "all" else database.path
    values = {"sql": text, "author": request.user.get_username()[:150], "saved": timezone.now()}
    rows = SavedQuery.objects.using(conf("DIRECTORY_ALIAS"))
    if not rows.filter(database=where, name=name).update(**values):
        try:
            rows.create(database=where, name=name, **values)
        except IntegrityError:
            # Somebody saved another one under this name at the same moment.
            rows.filter(database=where, name=name).update(**values)
    messages.success(request, f"The query “{name}” was saved.")
