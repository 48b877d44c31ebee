"""The URLs of the inspection, below those of an admin site."""

from importlib import import_module

from django.urls import path, register_converter

from .database import urls as database_urls
from .fleet import urls as fleet_urls
from .home import urls as home_urls
from .inspected import DatabaseConverter, NameConverter

register_converter(DatabaseConverter, "inspected")
register_converter(NameConverter, "inspected_name")


def patterns(site):
    """Return the URL patterns for `site`.

    Each view requires a login as the site's others do.
    """

    def route(pattern, view, name):
        return path(pattern, site.admin_view(_imported_late(view, site)), name=name)

    return [route(*item) for item in (*fleet_urls.ROUTES, *home_urls.ROUTES, *database_urls.ROUTES)]
