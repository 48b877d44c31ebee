"""Leases: one holder at a time for each tenant, and for each other database."""
