"""Pages about one database: data, structure, SQL, migrations and health."""
