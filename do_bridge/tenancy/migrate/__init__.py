"""Migrate tenants' objects: one, all of them, or one on its first use."""
