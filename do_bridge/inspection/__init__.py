"""What the admin shows of a database itself: its tables, rows, migrations, and answers to read-only SQL."""
