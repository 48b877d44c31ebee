"""Rows of D1 that every tenant's object holds too, under the same keys: users, content types, permissions."""
