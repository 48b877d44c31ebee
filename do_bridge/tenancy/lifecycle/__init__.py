"""Run a tenant's life under one lease: create, load, dump, empty and delete.

The table behind it is in `states`.
"""
