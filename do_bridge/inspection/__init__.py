"""Pages of the admin about a database itself: its tables, rows, migrations, and read-only SQL."""
