"""Read the schema of SQLite files and databases, check it, and send the rows."""
