"""The URLs of the pages about one database: (pattern, name of the view, name)."""

_ONE = "databases/<inspected:database>/"
_TABLE = f"{_ONE}tables/<inspected_name:name>/"
_ROW = f"{_TABLE}rows/<inspected_name:key>/"
ROUTES = (
    (_ONE, "pages.database", "database"),
    (f"{_ONE}structure/", "structure.structure", "database_structure"),
    (f"{_ONE}structure/<inspected_name:name>/", "structure.table", "database_table_structure"),
    (f"{_ONE}sql/", "sql.sql", "database_sql"),
    (f"{_ONE}sql/saved/", "sql.saved", "database_sql_saved"),
    (f"{_ONE}sql/export/", "exports.result", "database_sql_export"),
    (f"{_ONE}migrations/", "pages.migrations", "database_migrations"),
    (f"{_ONE}health/", "pages.health", "database_health"),
    (f"{_ONE}differences/", "pages.differences", "database_differences"),
    (_TABLE, "rows.table", "database_table"),
    (f"{_TABLE}export/<str:form>/", "exports.table", "database_table_export"),
    (_ROW, "rows.row", "database_row"),
    (f"{_ROW}value.json", "rows.value", "database_value"),
    (f"{_ROW}edit/", "rows.edit", "database_row_edit"),
)
