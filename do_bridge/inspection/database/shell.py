"""The frame of every page of one database: its tables, tabs and name."""

from dataclasses import dataclass

from ..access import may_read_rows, page_context
from ..reading.differences import models_of

# The apps whose tables stand below one's own, folded.
_FRAMEWORK = ("django.", "do_bridge")


@dataclass(frozen=True)
class Listed:
    """A table in the list, and whether the user may read its rows."""

    table: object
    is_readable: bool
    is_own: bool


def own_tables(alias, tables):
    """Return the names of the tables that are neither Django's nor this package's."""
    models = models_of(alias)

    def is_own(name):
        if name not in models:
            return name != "django_migrations"
        return not models[name]._meta.app_config.name.startswith(_FRAMEWORK)

    return {name for name in tables if is_own(name)}


def shell_context(site, request, database, tables, *, tab, title, table=None, **context):
    """Return the context of a page about `database`.

    `tables` are those of `queries.tables`, counted; `tab` is the tab that is marked, and `table` the name of
    the table that is open.
    """
    own = own_tables(database.alias, tables)
    listed = [
        Listed(found, may_read_rows(request.user, database, name), name in own)
        for name, found in tables.items()
    ]
    return page_context(
        site,
        request,
        database,
        title=title,
        tab=tab,
        open_table=table,
        own_tables=[item for item in listed if item.is_own],
        other_tables=[item for item in listed if not item.is_own],
        # Django's own list of models would be a second list beside the tables.
        is_nav_sidebar_enabled=False,
        **context,
    )
