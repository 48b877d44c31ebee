"""Keeps tenants apart in Django's ORM, forms and signals; `isolation` installs it."""
