"""The URLs of the pages about one database: (pattern, view, name)."""

from . import pages, rows

_ONE = "databases/<inspected:database>/"
_TABLE = f"{_ONE}tables/<inspected_name:name>/"
ROUTES = (
    (_ONE, pages.database, "database"),
    (f"{_ONE}migrations/", pages.migrations, "database_migrations"),
    (f"{_ONE}differences/", pages.differences, "database_differences"),
    (f"{_ONE}sql/", rows.sql, "database_sql"),
    (_TABLE, rows.table, "database_table"),
    (f"{_TABLE}rows/<inspected_name:key>/", rows.row, "database_row"),
)
