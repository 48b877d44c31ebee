"""Rows of D1 with copies in all tenants' databases, under the same keys.

These are users, content types and permissions.
"""
