"""An app of a tenant's, made of what other packages give."""
