"""The start page of one database, its migrations and its health."""

from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from .. import actions
from ..access import inspection
from ..reading import queries
from ..reading.differences import differences as compare
from ..reading.differences import history
from ..reading.facts import ledger_states, size_of
from .shell import shell_context

SECONDS = 10.0
_APPLIED = "SELECT app, name, applied FROM django_migrations ORDER BY id"


def _applied(tables):
    return [(_APPLIED, None)] if "django_migrations" in tables else []


def _history(results):
    return history([tuple(row) for row in results[0].rows] if results else [])


@inspection
def database(site, request, database):
    """Show one database's tables, with counts and columns."""
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        applied = queries.counted(connection, tables, _applied(tables))
    wanted = request.GET.get("table", "").strip().lower()
    context = shell_context(site, request, database, tables, tab="data", title=database.label, wanted=wanted)
    if wanted:
        # The list's filter without JavaScript.
        for group in ("own_tables", "other_tables"):
            context[group] = [item for item in context[group] if wanted in item.table.name.lower()]
    context.update(history=_history(applied), differences=compare(database.alias, tables))
    return render(request, "do_bridge/inspection/database/start.html", context)


@inspection
def migrations(site, request, database):
    """Show which migrations are applied, missing, or unknown to this code."""
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        applied = queries.counted(connection, tables, _applied(tables))
    context = shell_context(site, request, database, tables, tab="migrations", title="Migrations")
    context["history"] = _history(applied)
    context["noted"] = ledger_states([database.slug])[0][1] if database.slug else None
    return render(request, "do_bridge/inspection/database/migrations.html", context)


@inspection
def health(site, request, database):
    """Show the state of the database, its size and its actions."""
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        applied = queries.counted(connection, tables, _applied(tables))
        size = size_of(connection)
    context = shell_context(site, request, database, tables, tab="health", title="Health", size=size)
    context.update(history=_history(applied), differences=compare(database.alias, tables))
    counted = [table.rows for table in tables.values() if table.rows is not None]
    context.update(rows=sum(counted), is_more=any(table.is_more for table in tables.values()))
    context["noted"] = ledger_states([database.slug])[0][1] if database.slug else None
    context["actions"] = [
        action for action in actions.available(request.user) if database.slug or action.for_directory
    ]
    return render(request, "do_bridge/inspection/database/health.html", context)


@inspection
def differences(site, request, database):
    """Redirect to the structure page, which shows the differences."""
    return HttpResponseRedirect(reverse("admin:database_structure", args=[database]))
