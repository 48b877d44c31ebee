"""An optional app: tenants' objects hold copies of their members, and `request.user` is one of them there."""
