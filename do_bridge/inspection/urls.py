"""The URLs of the inspection, below those of an admin site."""

from importlib import import_module

from django.urls import path, register_converter

from .databases import DatabaseConverter, NameConverter

register_converter(DatabaseConverter, "inspected")
register_converter(NameConverter, "inspected_name")


def patterns(site):
    """Return the URL patterns for `site`.

    Each view requires a login as the site's others do.
    """

    def route(pattern, view, name):
        return path(pattern, site.admin_view(_imported_late(view, site)), name=name)

    one = "databases/<inspected:database>/"
    return [
        route("databases/", "views.database_list", "databases"),
        route("databases/action/", "views.action", "databases_action"),
        route(one, "views.database", "database"),
        route(f"{one}facts.json", "views.facts_json", "database_facts"),
        route(f"{one}migrations/", "views.migrations", "database_migrations"),
        route(f"{one}differences/", "views.differences", "database_differences"),
        route(f"{one}sql/", "views_rows.sql", "database_sql"),
        route(f"{one}tables/<inspected_name:name>/", "views_rows.table", "database_table"),
        route(
            f"{one}tables/<inspected_name:name>/rows/<inspected_name:key>/", "views_rows.row", "database_row"
        ),
    ]


def _imported_late(name, site):
    """Return the view `module.function` for `site`; commands, which import this module, never need it."""
    module, function = name.split(".")

    def view(request, **kwargs):
        return getattr(import_module(f".{module}", __package__), function)(site, request, **kwargs)

    return view
