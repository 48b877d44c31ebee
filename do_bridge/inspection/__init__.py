"""Pages of the admin about databases: tables, rows, migrations and SQL."""
