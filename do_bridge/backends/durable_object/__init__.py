"""The engine for Durable Objects: one SQLite database each, with real transactions."""
