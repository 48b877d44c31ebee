"""Keep tenants apart in Django's ORM, forms and signals; `install` sets it up."""
