"""The URLs of the pages about all databases: (pattern, view, name)."""

from . import views

ROUTES = (
    ("databases/", views.database_list, "databases"),
    ("databases/action/", views.action, "databases_action"),
    ("databases/<inspected:database>/facts.json", views.facts_json, "database_facts"),
)
