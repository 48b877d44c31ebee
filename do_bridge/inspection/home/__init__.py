"""The home of a tenant, and the use of a database."""
