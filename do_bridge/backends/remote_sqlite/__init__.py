"""The SQL dialect of SQLite as Cloudflare runs it: what both engines share."""
