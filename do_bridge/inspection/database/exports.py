"""Downloads of a table or of a statement's result, streamed row by row."""

import logging
import time
from itertools import chain

from django.http import Http404, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse

from do_bridge import driver
from do_bridge.backends.remote_sqlite import read_only

from ..access import inspection, require_sql, secret_columns
from ..reading import export
from . import history
from .asked import Asked
from .rows import open_table

logger = logging.getLogger("do_bridge.inspection")

SECONDS = 20.0  # for a chunk


def _file_name(database, name, form):
    kept = "".join(char if char.isalnum() or char in "-_" else "_" for char in name)[:80]
    return f"{database.slug or 'd1'}-{kept}.{form}"


@inspection
def table(site, request, database, name, form):
    """Stream all rows of a table that match the URL's filters.

    Takes one round trip for each chunk.
    """
    if form not in export.FORMS:
        raise Http404("A table is exported as csv, json or sql.")
    connection = database.connect(SECONDS)
    try:
        _, found = open_table(connection, request, database, name)
        secret = secret_columns(found)
        asked = Asked(request.GET, found, secret)
        if asked.impossible:
            # A file does not say what was left out.
            connection.close()
            text = f"{', '.join(asked.impossible)} does not fit this table. Nothing was exported.\n"
            return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")
        names, chunks = export.table_rows(connection, found, filters=asked.filters, hidden=secret)
        create = "" if secret or found.is_view else found.sql
        return _stream(database, form, name, names, chunks, create, connection)
    except BaseException:
        connection.close()
        raise


@inspection
def result(site, request, database):
    """Stream all rows of one reading statement."""
    require_sql(request.user)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form, text = request.POST.get("form", ""), request.POST.get("sql", "")
    if form not in export.FORMS:
        raise Http404("A result is exported as csv, json or sql.")
    start = time.perf_counter()
    try:
        names, chunks = export.statement_rows(database, text)
        answer = _stream(database, form, "result", names, chunks, "")
    except (read_only.Refused, driver.Error) as error:
        history.log(request, database, text, start, f"export failed: {type(error).__name__}")
        return HttpResponse(f"{error}\n", status=400, content_type="text/plain; charset=utf-8")
    history.log(request, database, text, start, f"exported as {form}")
    return answer


def _stream(database, form, name, names, chunks, create, connection=None):
    """Return the streaming response.

    The first chunk is read at once, so that its failure has an error page.
    """
    iterator = iter(chunks)
    first = next(iterator)
    rows = chain([first], iterator)
    if form == "sql":
        texts = export.as_sql(names, rows, table=name, create=create)
    else:
        texts = {"csv": export.as_csv, "json": export.as_json}[form](names, rows)
    response = StreamingHttpResponse(
        _watched(texts, database, name, connection), content_type=f"{export.FORMS[form]}; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{_file_name(database, name, form)}"'
    return response


def _watched(texts, database, name, connection):
    """Yield the encoded texts of a download.

    A failure is logged and aborts the download, so that it never looks complete.
    """
    try:
        for text in texts:
            yield text.encode()
    except driver.Error:
        logger.exception("The export of %s in %s was cut off.", name, database.alias)
        raise
    finally:
        if connection is not None:
            connection.close()
