"""The inspection's part of the admin sites."""

from django.urls import get_script_prefix, reverse

from do_bridge.admin.extensions import SiteExtension
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.links import directory_root

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

    def search_url(self, site, request, query):
        if not may_look(request.user):
            return None
        index = reverse("admin:index").removeprefix(get_script_prefix())
        return f"{directory_root(request)}{index}databases/?q={query}"
