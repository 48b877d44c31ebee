"""The usage page of one database: its plots, its size and its costs.

The plots show a day and a month.
"""

from django.shortcuts import render

from do_bridge import driver
from do_bridge.prices import dollars_text
from do_bridge.tenancy.conf import conf

from ..access import inspection, page_context
from ..usage.models import Look
from ..usage.plots import plots
from ..usage.reading import month_dollars, series

SECONDS = 3.0


@inspection
def usage(site, request, database):
    """Show the usage of a database that D1 has recorded.

    If the database does not answer, show the size of its last look.
    """
    size, is_old = _size(database)
    context = page_context(site, request, database, title="Usage", tab="usage", size=size, is_old=is_old)
    context["plots"] = plots(series(database.alias))
    context["dollars"] = dollars_text(month_dollars({database.alias: size})[database.alias])
    context["is_counted"] = conf("USAGE")
    return render(request, "do_bridge/inspection/home/usage.html", context)


def _size(database):
    """Return (bytes on disk or None, whether they are those of the last look)."""
    try:
        with database.connect(SECONDS) as connection:
            return connection.size(), False
    except driver.Error:
        looks = Look._base_manager.using(conf("DIRECTORY_ALIAS")).filter(database=database.alias)
        return looks.values_list("size", flat=True).first(), True
