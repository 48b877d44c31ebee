"""The inspection's part of the admin sites."""

from django.conf import settings
from django.urls import get_script_prefix, reverse

from do_bridge.admin.extensions import SiteExtension
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import directory_root, tenant_root

from . import urls
from .access import may_look
from .inspected import Inspected


class Pages(SiteExtension):
    """Add the pages about databases, and links to them."""

    def urls(self, site):
        return urls.patterns(site)

    def context(self, site, request):
        """Return the URL and text of the link to the pages, for users who may see them."""
        if not may_look(request.user):
            return {}
        if slug := current_tenant():
            pages = reverse("admin:database", args=[Inspected(slug)]), "Browse this database"
        else:
            pages = reverse("admin:databases"), "All databases"
        return {"database_pages": pages}

    def switched_url(self, request, match, slug):
        """Return the same page about the database of `slug`; of a row, its table."""
        if "database" not in match.kwargs:
            return None
        kwargs = {**match.kwargs, "database": Inspected(slug)}
        kwargs.pop("key", None)
        name = {"database_row": "database_table"}.get(match.url_name, match.url_name)
        if not current_tenant():
            return reverse(f"admin:{name}", kwargs=kwargs)
        # Each tenant's admin shows its own database, and D1's shows all.
        root = tenant_root(request, slug) if slug else directory_root(request)
        urls = conf("TENANT_URLCONF") if slug else settings.ROOT_URLCONF
        return root + reverse(f"admin:{name}", kwargs=kwargs, urlconf=urls).removeprefix(get_script_prefix())

    def search_url(self, site, request, query):
        if not may_look(request.user):
            return None
        index = reverse("admin:index").removeprefix(get_script_prefix())
        return f"{directory_root(request)}{index}databases/?q={query}"
