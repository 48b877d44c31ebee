"""The app for users, tenants and memberships."""
