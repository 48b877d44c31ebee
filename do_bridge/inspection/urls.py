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

    return [
        path(pattern, site.admin_view(_imported_late(urls.__package__, view, site)), name=name)
        for urls in (fleet_urls, home_urls, database_urls)
        for pattern, view, name in urls.ROUTES
    ]


def _imported_late(package, name, site):
    """Return the view `module.function` for `site`, which is imported when called.

    Commands import this module too, and never need the view.
    """
    module, function = name.split(".")

    def view(request, **kwargs):
        return getattr(import_module(f".{module}", package), function)(site, request, **kwargs)

    return view
