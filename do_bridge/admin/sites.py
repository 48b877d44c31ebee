"""The admin sites of D1 and of the current tenant."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import get_script_prefix, path, reverse

from do_bridge.admin.extensions import extensions
from do_bridge.admin.refusals import inside_admin
from do_bridge.admin.switcher import D1, LONGEST_QUERY, offered, remember, shown_slug
from do_bridge.tenancy import current_tenant, tenant_alias, validate_slug
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import directory_root, tenant_root
from do_bridge.tenancy.tenants import lookup

LOG_LIMIT = 10


class DatabaseAdminSite(admin.AdminSite):
    """An admin site of one database.

    It names the database on each page, and offers the other databases to staff.
    """

    def alias(self) -> str:
        """Return the alias of the database that this site shows."""
        raise NotImplementedError

    def each_context(self, request: Any) -> Any:
        slug = current_tenant() or ""
        name = f"Tenant {slug}" if slug else D1
        context = {
            **super().each_context(request),
            "site_title": name,
            "site_header": name,
            "site_url": get_script_prefix(),
            "database_name": name,
            "database_slug": slug,
            "database_is_tenant": bool(slug),
        }
        for extension in extensions():
            context.update(extension.context(self, request))
        return context

    def admin_view(self, view: Any, cacheable: Any = False) -> Any:
        return super().admin_view(_remembering(inside_admin(self, view)), cacheable)

    def index(self, request: Any, extra_context: Any = None) -> Any:
        log = LogEntry.objects.using(self.alias()).filter(user_id=request.user.pk)
        recent = log.select_related("content_type")[:LOG_LIMIT]
        return super().index(request, {"database_log": recent, **(extra_context or {})})

    def get_urls(self) -> Any:
        return [
            path("switch/", self.admin_view(self.switch), name="switch"),
            path("switch/tenants.json", self.admin_view(self.switch_tenants), name="switch_tenants"),
            *(pattern for extension in extensions() for pattern in extension.urls(self)),
            *super().get_urls(),
        ]

    def switch(self, request: Any) -> Any:
        """Redirect to the admin of the database in `?tenant=<slug>`.

        An empty slug means D1. Without `tenant` show a page that offers the databases: the switcher without
        JavaScript.
        """
        if "tenant" not in request.GET:
            query, origin = self._asked(request)
            context = {
                **self.each_context(request),
                "title": "Switch database",
                "query": query,
                "origin": origin,
            }
            context["offered"] = offered(request, query, origin)
            request.current_app = self.name
            return render(request, "do_bridge/switch.html", context)
        slug = request.GET["tenant"].strip()
        if not slug:
            return HttpResponseRedirect(directory_root(request) + self._relative_index())
        try:
            validate_slug(slug)
        except ValueError as exc:
            raise Http404("This tenant does not exist.") from exc
        if lookup.get(slug) is None:
            # The beginning of a slug: the list shows the tenants that match it.
            for extension in extensions():
                if found := extension.search_url(self, request, slug):
                    return HttpResponseRedirect(found)
        return HttpResponseRedirect(tenant_root(request, slug) + self._relative_index())

    def switch_tenants(self, request: Any) -> Any:
        """Return the databases that the switcher lists, as JSON.

        The query string is `?q=<part of a slug or name>&from=<path>`.
        """
        return JsonResponse({"databases": offered(request, *self._asked(request))})

    @staticmethod
    def _asked(request):
        return request.GET.get("q", "").strip()[:LONGEST_QUERY], request.GET.get("from", "")

    def _relative_index(self):
        return reverse("admin:index").removeprefix(get_script_prefix())


def _remembering(view):
    """Return `view`, whose pages put their database among those used last."""

    @wraps(view)
    def remembering(request, *args, **kwargs):
        response = view(request, *args, **kwargs)
        if request.method == "GET" and "text/html" in response.get("Content-Type", ""):
            remember(request, response, shown_slug(kwargs))
        return response

    return remembering


class DirectoryAdminSite(DatabaseAdminSite):
    """D1's data, under `/admin/`."""

    def alias(self) -> str:
        return conf("DIRECTORY_ALIAS")


class TenantAdminSite(DatabaseAdminSite):
    """The current tenant's data, under `/t/<slug>/admin/`.

    Permissions and login stay D1's.
    """

    def alias(self) -> str:
        return tenant_alias(current_tenant())


tenant_site = TenantAdminSite(name="admin")
