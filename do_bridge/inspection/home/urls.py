"""The URLs of a tenant's home and of a database's usage page.

Each is (pattern, name of the view, name).
"""

_ONE = "databases/<inspected:database>/"
ROUTES = (
    (f"{_ONE}usage/", "usage.usage", "database_usage"),
    (f"{_ONE}home/", "views.home", "tenant_home"),
)
