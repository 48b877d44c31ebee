"""The pages about one database: its tables, migrations and differences."""

from django.shortcuts import render

from .. import actions
from ..access import inspection, may_read_rows, page_context
from ..reading import queries
from ..reading.differences import differences as compare
from ..reading.differences import history
from ..reading.facts import ledger_states

SECONDS = 10.0


@inspection
def database(site, request, database):
    """Show one database's tables, with counts and columns."""
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        names = [name for name, table in tables.items() if not table.is_view]
        counts, applied, _ = queries.look(connection, names)
    for name, count in counts.items():
        tables[name].rows = min(count, queries.COUNT_LIMIT)
        tables[name].is_more = count > queries.COUNT_LIMIT
    listed = [(table, may_read_rows(request.user, database, name)) for name, table in tables.items()]
    context = page_context(site, request, database, title=database.label, tables=listed)
    context.update(history=history(applied), differences=compare(database.alias, tables), tab="tables")
    context["actions"] = [
        action for action in actions.available(request.user) if database.slug or action.for_directory
    ]
    return render(request, "do_bridge/inspection/database/database.html", context)


@inspection
def migrations(site, request, database):
    """Show which migrations are applied, missing, or unknown to this code."""
    with database.connect(SECONDS) as connection:
        names = queries.table_names(connection)
        applied = queries.look(connection, [name for name in names if name == "django_migrations"])[1]
    known = history(applied)
    context = page_context(site, request, database, title="Migrations", history=known, tab="migrations")
    context["noted"] = ledger_states([database.slug])[0][1] if database.slug else None
    return render(request, "do_bridge/inspection/database/migrations.html", context)


@inspection
def differences(site, request, database):
    """Show the differences of the schema from the models."""
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
    found = compare(database.alias, tables)
    context = page_context(site, request, database, title="Differences", differences=found, tab="differences")
    context["table_names"] = set(tables)
    return render(request, "do_bridge/inspection/database/differences.html", context)
