"""Notes that belong to tenants."""
