"""Tenants and their members, in D1."""
