"""The directory: who may sign in, which tenants there are, and who belongs to which."""
