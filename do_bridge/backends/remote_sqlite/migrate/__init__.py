"""Migrations that are all or nothing, or that can be continued."""
