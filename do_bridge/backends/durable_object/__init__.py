"""The engine for Durable Objects: a SQLite database each, with real transactions."""
