"""Migrations of tenants' objects: one, all of them, or one that catches up on first use."""
