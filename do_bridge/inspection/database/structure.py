"""The structure of a database: its diagram, its tables, its differences.

The differences are those between the database and the models.
"""

from collections import defaultdict

from django.http import Http404
from django.shortcuts import render

from ..access import inspection
from ..reading import queries
from ..reading.diagram import draw
from ..reading.differences import differences as compare
from ..reading.differences import models_of
from ..reading.highlight import broken_lines, parts
from .shell import own_tables, shell_context

SECONDS = 10.0


@inspection
def structure(site, request, database):
    """Show the diagram of the tables, and each table's differences.

    It has the project's own tables, or with `?all=1` all tables.
    """
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        queries.counted(connection, tables)
    found = defaultdict(list)
    for item in compare(database.alias, tables):
        found[item.table].append(item)
    shows_all = request.GET.get("all") == "1"
    own = own_tables(database.alias, tables)
    drawn = [table for name, table in tables.items() if shows_all or name in own]
    context = shell_context(site, request, database, tables, tab="structure", title="Structure")
    context.update(
        diagram=draw(drawn),
        shows_all=shows_all,
        differences=sum(map(len, found.values())),
        differing=[(name, name in tables, items) for name, items in found.items()],
        listed=[(table, found.get(table.name, ())) for table in drawn],
    )
    return render(request, "do_bridge/inspection/database/structure.html", context)


@inspection
def table(site, request, database, name):
    """Show a table's columns, indexes, keys and CREATE statement.

    The differences from the model stand beside each line.
    """
    with database.connect(SECONDS) as connection:
        tables = queries.tables(connection)
        if name not in tables:
            raise Http404("This table does not exist.")
        queries.counted(connection, tables)
    found = tables[name]
    beside = defaultdict(list)
    for item in compare(database.alias, tables):
        if item.table == name:
            beside[item.what].append(item.text)
    columns = []
    for column in found.columns:
        pointing = [key for key in found.keys if key.column == column.name]
        columns.append((column, pointing, beside.pop(f"column {column.name}", ())))
    indexes = [(index, beside.pop(f"index {index.name}", ())) for index in found.indexes]
    keys = [(key, beside.pop(f"foreign key {key.column}", ())) for key in found.keys]
    incoming = [(child.name, key) for child in tables.values() for key in child.keys if key.table == name]
    model = models_of(database.alias).get(name)
    context = shell_context(
        site, request, database, tables, tab="structure", title=name, table=name, shown=found
    )
    context.update(
        columns=columns,
        indexes=indexes,
        keys=keys,
        incoming=incoming,
        model=model._meta.label if model else "",
        # What the database lacks has no line of its own.
        others=[(what, text) for what, texts in beside.items() for text in texts],
        sql_parts=parts(broken_lines(found.sql)),
    )
    return render(request, "do_bridge/inspection/database/table_structure.html", context)
