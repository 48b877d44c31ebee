"""Users, tenants and memberships: who may log in, and who belongs to which tenant."""
