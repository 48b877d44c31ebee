"""The pages of a table's rows, of one row, and the values of single cells."""

from django.contrib.admin import site as default_site
from django.contrib.admin.utils import quote as quote_key
from django.http import Http404, JsonResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, get_script_prefix, reverse

from do_bridge.admin import tenant_site
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import directory_root, tenant_root

from ..access import inspection, may_read_rows, require_rows, secret_columns
from ..reading import queries, row_names
from ..reading.differences import models_of
from ..reading.rows import OPERATORS, PageQuery, RowQuery, value_of, value_statement
from .asked import OPERATOR_LABELS, Asked
from .shell import shell_context

SECONDS = 10.0
PAGE_SIZE = 50
_NUMBERS = ("INT", "REAL", "DEC", "NUM", "DOUB", "FLOA")
NO_ROW = "This row does not exist."


def open_table(connection, request, database, name):
    """Return (all tables, the Table of a URL).

    Raises Http404, or PermissionMissing if this user may not see its rows.
    """
    tables = queries.tables(connection)
    if name not in tables:
        raise Http404("This table does not exist.")
    require_rows(request.user, database, name)
    return tables, tables[name]


@inspection
def table(site, request, database, name):
    """Show a page of a table's rows; two round trips, whatever the table's size."""
    with database.connect(SECONDS) as connection:
        tables, found = open_table(connection, request, database, name)
        secret = secret_columns(found)
        asked = Asked(request.GET, found, secret)
        query = PageQuery(
            found,
            filters=asked.filters,
            order=asked.order,
            descending=asked.descending,
            number=asked.number,
            size=PAGE_SIZE,
            hidden=secret,
        )
        page = query.read(queries.counted(connection, tables, query.statements))
    context = shell_context(
        site, request, database, tables, tab="data", title=name, table=name, page=page, asked=asked
    )
    targets = _targets(found, tables, database, request)
    context.update(
        shown=found,
        columns=[_heading(found, targets, *heading) for heading in asked.headings],
        operators=[(operator, OPERATOR_LABELS[operator]) for operator in OPERATORS],
        first=(asked.number - 1) * PAGE_SIZE + 1,
        last=(asked.number - 1) * PAGE_SIZE + len(page.rows),
        is_editable=_admin_of(site, request, database, name) is not None,
    )
    return render(request, "do_bridge/inspection/database/table.html", context)


def _heading(table, targets, name, url, state):
    declared = table.column(name).type
    return {
        "name": name,
        "url": url,
        "state": state,
        "type": declared,
        "target": targets.get(name),
        "is_number": any(word in declared.upper() for word in _NUMBERS),
    }


def _targets(table, tables, database, request):
    """Return {column: Table} of the foreign keys whose rows can be opened."""
    return {
        key.column: tables[key.table]
        for key in table.keys
        if key.table in tables
        and key.to in (None, row_names.plain_column(tables[key.table]))
        and may_read_rows(request.user, database, key.table)
    }


@inspection
def row(site, request, database, name, key):
    """Show one row in full, with its neighbours and its related rows.

    Related rows are those that it points to and those that point to it.
    """
    with database.connect(SECONDS) as connection:
        tables, found = open_table(connection, request, database, name)
        secret = secret_columns(found)
        query = RowQuery(found, key, hidden=secret, incoming=_incoming(found, tables, database, request))
        if not query.is_possible or secret & set(found.primary_key):
            raise Http404(NO_ROW)
        shown = query.read(queries.counted(connection, tables, query.statements))
    if shown is None:
        raise Http404(NO_ROW)
    targets = _targets(found, tables, database, request)
    values = [
        (column, shown.cells[column.name], _link(targets.get(column.name), shown.cells[column.name]))
        for column in found.columns
    ]
    context = shell_context(
        site, request, database, tables, tab="data", title=f"{name} {key}", table=name, shown=found
    )
    context.update(values=values, key=key, row=shown, pointing=_pointing(shown, found))
    context["edit_url"] = edit_url(site, request, database, found, shown.cells)
    return render(request, "do_bridge/inspection/database/row.html", context)


def _link(target, cell):
    """Return (table's name, row's name) to which a cell points, or None."""
    name = row_names.link_name(target, cell) if target is not None else None
    return (target.name, name) if name is not None else None


def _incoming(table, tables, database, request):
    """Return (child Table, ForeignKey) of the indexed keys that point to `table`.

    Without an index a count would read the whole child table.
    """
    key = table.primary_key
    return [
        (child, reference)
        for child in tables.values()
        for reference in child.keys
        if reference.table == table.name
        and (reference.to or (len(key) == 1 and key[0]))
        and any(index.columns[:1] == [reference.column] for index in child.indexes)
        and may_read_rows(request.user, database, child.name)
    ]


def _pointing(shown, table):
    """Return a dictionary for each foreign key by which rows point here.

    It has the keys table, column, count, is_more and value.
    """
    found = []
    for child, key, count, is_more in shown.pointing:
        target = key.to or table.primary_key[0]
        found.append(
            {"table": child.name, "column": key.column, "count": count, "is_more": is_more,
             "value": shown.cells[target].text}
        )  # fmt: skip
    return found


@inspection
def value(site, request, database, name, key):
    """Answer `?c=<column>` with the whole value of a row's cell, for the side panel."""
    with database.connect(SECONDS) as connection:
        _, found = open_table(connection, request, database, name)
        column, secret = request.GET.get("c", ""), secret_columns(found)
        if found.column(column) is None or column in secret or secret & set(found.primary_key):
            raise Http404("This column does not exist, or is not shown.")
        statement = value_statement(found, key, column)
        cell = value_of(connection.execute_batch([statement])[0]) if statement else None
    if cell is None:
        raise Http404(NO_ROW)
    return JsonResponse(
        {"kind": cell.kind, "text": cell.text, "length": cell.length, "is_cut": cell.is_cut,
         "type": found.column(column).type}
    )  # fmt: skip


@inspection
def edit(site, request, database, name, key):
    """Redirect to the form of the admin that changes a row, in the row's own database."""
    from django.http import HttpResponseRedirect

    with database.connect(SECONDS) as connection:
        _, found = open_table(connection, request, database, name)
        secret = secret_columns(found)
        query = RowQuery(found, key, hidden=secret)
        if not query.is_possible or secret & set(found.primary_key):
            raise Http404(NO_ROW)
        shown = query.read(connection.execute_batch(query.statements))
    url = edit_url(site, request, database, found, shown.cells) if shown is not None else None
    if url is None:
        raise Http404("No admin form changes this row.")
    return HttpResponseRedirect(url)


def edit_url(site, request, database, table, cells):
    """Return the URL of the admin's form for a row in its own database, or None."""
    found = _admin_of(site, request, database, table.name)
    model = models_of(database.alias).get(table.name)
    if found is None or model._meta.pk.column not in cells:
        return None
    options, cell = model._meta, cells[model._meta.pk.column]
    if cell.kind not in ("integer", "text") or cell.is_cut:
        return None
    name = f"admin:{options.app_label}_{options.model_name}_change"
    root = tenant_root(request, database.slug) if database.slug else directory_root(request)
    urls = conf("TENANT_URLCONF") if database.slug else None
    try:
        # UUIDs are stored without their dashes, and the admin reads both.
        path = reverse(name, args=[quote_key(cell.text)], urlconf=urls)
    except NoReverseMatch:
        return None
    return root + path.removeprefix(get_script_prefix())


def _admin_of(site, request, database, name):
    """Return the ModelAdmin that changes rows of a table for this user, or None."""
    model = models_of(database.alias).get(name)
    if model is None or model._meta.auto_created:
        return None
    is_own = (current_tenant() or "") == database.slug
    registry = site if is_own else tenant_site if database.slug else default_site
    if not registry.is_registered(model):
        return None
    found = registry.get_model_admin(model)
    return found if found.has_change_permission(request) else None
