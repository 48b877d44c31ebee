"""A tenant's life under one lease: create, load, dump, empty, delete; `states` is the table behind it."""
