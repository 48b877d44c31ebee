"""The pages about the contents of a database: tables, rows and SQL."""

import logging
import time
from functools import partial
from itertools import zip_longest
from threading import Thread
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connections
from django.http import Http404
from django.shortcuts import render

from do_bridge import driver
from do_bridge.admin.model_admins import READ
from do_bridge.tenancy.conf import conf

from ..access import inspection, may_read_rows, may_run_sql, page_context, secret_columns
from ..reading import queries, readonly, row_names
from ..reading.queries import OPERATORS

logger = logging.getLogger("do_bridge.inspection")

SECONDS = 10.0
PAGE_SIZE = 50
LAST_PAGE = 100_000
OPERATOR_LABELS = {
    "is": "is",
    "not": "is not",
    "has": "contains",
    "starts": "starts with",
    "lt": "is below",
    "le": "is at most",
    "gt": "is above",
    "ge": "is at least",
    "null": "is empty",
    "filled": "is not empty",
}
LOGGED_TEXT = 1_000


def _table(connection, request, database, name):
    """Return the Table of a URL, and {column: Table} of its references.

    Raises Http404, or PermissionDenied if this user may not see its rows.
    """
    tables = queries.tables(connection)
    table = tables.get(name)
    if table is None:
        raise Http404("This table does not exist.")
    if not may_read_rows(request.user, database, table.name):
        raise PermissionDenied
    targets = {
        key.column: tables[key.table]
        for key in table.keys
        if key.table in tables and key.to in (None, row_names.plain_column(tables[key.table]))
    }
    return table, targets


@inspection
def table(site, request, database, name):
    """Show a table: its columns, indexes and keys, and a page of its rows."""
    with database.connect(SECONDS) as connection:
        found, _ = _table(connection, request, database, name)
        secret = secret_columns(found)
        asked = _Asked(request.GET, found, secret)
        page = queries.page(
            connection,
            found,
            filters=asked.filters,
            order=asked.order,
            descending=asked.descending,
            number=asked.number,
            size=PAGE_SIZE,
            hidden=secret,
        )
    context = page_context(site, request, database, title=found.name, table=found, page=page, asked=asked)
    context.update(
        operators=[(name, OPERATOR_LABELS[name]) for name in OPERATORS],
        first=(asked.number - 1) * PAGE_SIZE + 1,
        last=(asked.number - 1) * PAGE_SIZE + len(page.rows),
        tab="tables",
    )
    return render(request, "do_bridge/inspection/database/table.html", context)


class _Asked:
    """The request in a table's URL: filters, order, page.

    `impossible` names what the table does not have.
    """

    def __init__(self, given, table, secret):
        self.columns = [column.name for column in table.columns if column.name not in secret]
        self.impossible, self.filters = [], []
        parts = (given.getlist("c"), given.getlist("o"), given.getlist("v"))
        for column, operator, value in zip_longest(*parts, fillvalue=""):
            if column in self.columns and operator in OPERATORS:
                self.filters.append((column, operator, value.replace("\0", "")))
            else:
                words = OPERATOR_LABELS.get(operator, operator)
                self.impossible.append(f"the filter “{f'{column} {words} {value}'.strip()}”")
        order = given.get("sort", "")
        self.descending = order.startswith("-") and order not in self.columns
        self.order = order.removeprefix("-") if self.descending else order
        if self.order not in self.columns:
            self.impossible += [f"the order by “{self.order}”"] if self.order else []
            self.order, self.descending = None, False
        page = given.get("p", "")
        self.number = min(max(int(page), 1), LAST_PAGE) if page.isascii() and page.isdigit() else 1

    def url(self, *, filters=None, order=None, number=None):
        """Return the query string for the same page with something changed."""
        pairs = []
        for column, operator, value in self.filters if filters is None else filters:
            pairs += [("c", column), ("o", operator), ("v", value)]
        sort = ("-" if self.descending else "") + (self.order or "") if order is None else order
        pairs += [("sort", sort)] if sort else []
        pairs += [("p", number)] if number and number > 1 else []
        return "?" + urlencode(pairs)

    @property
    def previous(self):
        return self.url(number=self.number - 1)

    @property
    def next(self):
        return self.url(number=self.number + 1)

    @property
    def chips(self):
        """Return (column, operator, value, URL without this filter) of each filter.

        The operator is in words.
        """
        return [
            (
                column,
                OPERATOR_LABELS[operator],
                value if "{value}" in OPERATORS[operator] else "",
                self.url(filters=[*self.filters[:at], *self.filters[at + 1 :]]),
            )
            for at, (column, operator, value) in enumerate(self.filters)
        ]

    @property
    def headings(self):
        """Return (column, URL that sorts by it, direction) of each column.

        The direction is "ascending", "descending" or empty.
        """
        found = []
        for column in self.columns:
            sorted_by = column == self.order
            turned = sorted_by and not self.descending
            state = ("descending" if self.descending else "ascending") if sorted_by else ""
            found.append((column, self.url(order=f"-{column}" if turned else column), state))
        return found


@inspection
def row(site, request, database, name, key):
    """Show one row, in full."""
    with database.connect(SECONDS) as connection:
        found, targets = _table(connection, request, database, name)
        cells, secret = None, secret_columns(found)
        if not secret & set(found.primary_key):
            cells = queries.row(connection, found, key, hidden=secret)
    if cells is None:
        raise Http404("This row does not exist.")
    values = [
        (column, cells[column.name], _link(targets.get(column.name), cells[column.name]))
        for column in found.columns
    ]
    context = page_context(site, request, database, title=f"{found.name} {key}", table=found)
    context.update(values=values, key=key, tab="tables")
    return render(request, "do_bridge/inspection/database/row.html", context)


def _link(target, cell):
    """Return (table's name, row's name) to which a cell points, or None."""
    name = row_names.link_name(target, cell) if target is not None else None
    return (target.name, name) if name is not None else None


@inspection
def sql(site, request, database):
    """Show a form for one reading statement, and its answer; a GET runs nothing."""
    if not may_run_sql(request.user):
        raise PermissionDenied
    text = request.POST.get("sql", "") if request.method == "POST" else request.GET.get("sql", "")
    context = page_context(site, request, database, title="SQL", tab="sql", sql=text)
    context.update(row_limit=readonly.ROW_LIMIT, seconds=readonly.SECONDS)
    if request.method == "POST":
        run = readonly.plan if "plan" in request.POST else readonly.run
        context.update(_answer(request, database, text, run))
    return render(request, "do_bridge/inspection/database/sql.html", context)


def _answer(request, database, text, run):
    """Run the statement and log it; return the context for the page."""
    note = partial(_log, request, database, text, time.perf_counter())
    try:
        answer = run(database, text)
    except readonly.Refused as error:
        note(f"refused: {error}")
        return {"problem": str(error)}
    except driver.Error as error:
        note(f"{type(error).__name__}")
        return {"problem": str(error)}
    note(f"{len(answer.rows)} rows")
    rows = [[_shown(value) for value in line] for line in answer.rows]
    return {"answer": answer, "rows": rows, "is_plan": run is readonly.plan, "ms": answer.seconds * 1000}


def _shown(value):
    """Return (kind, text) of a value for the page."""
    if value is None:
        return "null", "NULL"
    if isinstance(value, bytes):
        cut = "…" if len(value) > 64 else ""
        return "blob", f"{len(value):,} bytes: {value[:64].hex()}{cut}"
    if isinstance(value, str):
        return "text", value if len(value) <= 2_000 else f"{value[:2_000]}… ({len(value):,} characters)"
    return "number", str(value)


def _log(request, database, text, start, outcome):
    """Log who ran which statement, with its database, time and outcome.

    Writes to the log and to D1's admin log.
    """
    spent = (time.perf_counter() - start) * 1000
    short = " ".join(text.split())[:LOGGED_TEXT]
    logger.info(
        "SQL on %s by user %s: %.0f ms, %s: %s", database.alias, request.user.pk, spent, outcome, short
    )
    entry = LogEntry(
        user_id=request.user.pk,
        object_id=database.path,
        object_repr=f"SQL on {database.label}"[:200],
        action_flag=READ,
        change_message=f"{spent:.0f} ms, {outcome}: {short}",
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
