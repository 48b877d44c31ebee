"""The tenants' posts."""
