"""An optional app that keeps copies of members in tenants' databases.

Inside a tenant `request.user` is such a copy.
"""
