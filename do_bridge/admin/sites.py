"""The admin sites of D1 and of the current tenant."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import get_script_prefix, path, reverse
from django.utils.functional import SimpleLazyObject

from do_bridge.admin.tenant import TenantFieldsMixin, bound_form, tenant_filter
from do_bridge.admin.together import GatherMixin
from do_bridge.inspection import urls as inspection_urls
from do_bridge.inspection.access import READ, inside_admin, may_look
from do_bridge.inspection.databases import Inspected, matching
from do_bridge.tenancy import current_tenant, tenant_alias, validate_slug
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import directory_root, tenant_root
from do_bridge.tenancy.orm.last_writes import saves_in_one_write
from do_bridge.tenancy.replicated.users import need_copy, writer
from do_bridge.tenancy.tenants import lookup, tenant_model

SWITCHER_LIMIT = 200  # tenants offered at once; the others are offered while the user types
SEARCH_LIMIT = 20
LOG_LIMIT = 10


class DatabaseAdminSite(admin.AdminSite):
    """An admin site of one database.

    It names the database on each page, and offers the other databases to staff.
    """

    def alias(self) -> str:
        """Return the alias of the database that this site shows."""
        raise NotImplementedError

    def tenant_slugs(self) -> Any:
        """Return the slugs that the switcher offers, in order, from a short-lived cache."""
        return lookup.first_slugs(SWITCHER_LIMIT)

    def each_context(self, request: Any) -> Any:
        slug = current_tenant() or ""
        name = f"Tenant {slug}" if slug else "D1, the shared database"
        return {
            **super().each_context(request),
            "site_title": name,
            "site_header": name,
            "site_url": get_script_prefix(),
            "database_name": name,
            "database_slug": slug,
            "database_tenants": SimpleLazyObject(self.tenant_slugs),
            "database_directory": directory_root(request) + self._relative_index(),
            "database_pages": self._pages(request, slug),
        }

    def _pages(self, request, slug):
        """Return (URL, text) of the pages about databases, or None.

        None means that the user may not see them.
        """
        if not may_look(request.user):
            return None
        if slug:
            return reverse("admin:database", args=[Inspected(slug)]), "Browse this database"
        return reverse("admin:databases"), "All databases"

    def admin_view(self, view: Any, cacheable: Any = False) -> Any:
        return super().admin_view(inside_admin(self, view), cacheable)

    def index(self, request: Any, extra_context: Any = None) -> Any:
        log = LogEntry.objects.using(self.alias()).filter(user_id=request.user.pk)
        recent = log.select_related("content_type")[:LOG_LIMIT]
        return super().index(request, {"database_log": recent, **(extra_context or {})})

    def get_urls(self) -> Any:
        return [
            path("switch/", self.admin_view(self.switch), name="switch"),
            path("switch/tenants.json", self.admin_view(self.switch_tenants), name="switch_tenants"),
            *inspection_urls.patterns(self),
            *super().get_urls(),
        ]

    def switch(self, request: Any) -> Any:
        """Redirect to the admin of the database in `?tenant=<slug>`, or of D1."""
        slug = request.GET.get("tenant", "").strip()
        if not slug:
            return HttpResponseRedirect(directory_root(request) + self._relative_index())
        try:
            validate_slug(slug)
        except ValueError as exc:
            raise Http404("This tenant does not exist.") from exc
        if lookup.get(slug) is None and may_look(request.user):
            # The beginning of a slug: the list shows the tenants that match it.
            found = f"{self._relative_index()}databases/?q={slug}"
            return HttpResponseRedirect(directory_root(request) + found)
        return HttpResponseRedirect(tenant_root(request, slug) + self._relative_index())

    def switch_tenants(self, request: Any) -> Any:
        """Answer `?q=<part of a slug or name>` with slugs.

        Those that begin with it come first.
        """
        query = request.GET.get("q", "").strip()[:63]
        starting = list(_slugs(Q(slug__istartswith=query))[:SEARCH_LIMIT])
        others = []
        if len(starting) < SEARCH_LIMIT:
            others = _slugs(matching(query)).exclude(slug__in=starting)[: SEARCH_LIMIT - len(starting)]
        return JsonResponse({"tenants": [*starting, *others]})

    def _relative_index(self):
        return reverse("admin:index").removeprefix(get_script_prefix())


def _slugs(condition):
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).filter(condition)
    return tenants.order_by("slug").values_list("slug", flat=True)


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


class ReadOnlyAdminMixin:
    """Show rows without allowing any change."""

    def has_add_permission(self, request: Any, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False


class TenantModelAdmin(GatherMixin, TenantFieldsMixin, admin.ModelAdmin):
    """Keep everything on the admin's pages in the current tenant's database.

    That includes rows, form fields, filters, autocompletes and the log. Its inlines need TenantInlineMixin.
    """

    def get_form(self, request: Any, obj: Any = None, change: Any = False, **kwargs: Any) -> Any:
        return bound_form(super().get_form(request, obj, change, **kwargs), self.admin_site.alias())

    def get_list_filter(self, request: Any) -> Any:
        return [tenant_filter(self.model, item) for item in super().get_list_filter(request)]

    def save_model(self, request: Any, obj: Any, form: Any, change: Any) -> None:
        obj.save(using=self.admin_site.alias())

    def delete_model(self, request: Any, obj: Any) -> None:
        obj.delete(using=self.admin_site.alias())

    def copy_user(self, user: Any, alias: str) -> None:
        """Make sure that the acting user has a row in the tenant's database.

        The rows of the log refer to it. With the app do_bridge.members the row is written in the round trip
        of the log's row. Override this in a project without the app.
        """
        if writer.statements is None:
            raise NotImplementedError(
                f"{type(self).__name__} must override copy_user(), because the admin's log refers to a user. "
                "Override it, or add the app do_bridge.members to INSTALLED_APPS."
            )
        need_copy(user, alias)

    # The log itself follows the context, and content types have the same keys in every database.

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        self.copy_user(request.user, self.admin_site.alias())
        with self._last_write("response_add", "response_post_save_add"):
            return super().log_addition(request, obj, message)

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        self.copy_user(request.user, self.admin_site.alias())
        with self._last_write("response_change", "response_post_save_change"):
            return super().log_change(request, obj, message)

    def _last_write(self, *responses):
        """Return the block for a row of the log: after it Django's own pages write nothing."""
        names = (*responses, "changelist_view", "construct_change_message", "message_user")
        is_django = all(getattr(type(self), name) is getattr(admin.ModelAdmin, name) for name in names)
        connection = connections[self.admin_site.alias()]
        is_last = is_django and not self.list_editable and saves_in_one_write(LogEntry)
        if not is_last or not hasattr(connection, "last_write"):
            return nullcontext()
        return connection.last_write(LogEntry, ends_block=True)

    def log_deletions(self, request: Any, queryset: Any) -> Any:
        self.copy_user(request.user, self.admin_site.alias())
        return super().log_deletions(request, queryset)


class LogEntryAdmin(ReadOnlyAdminMixin, GatherMixin, admin.ModelAdmin):
    """The admin log, by day."""

    date_hierarchy = "action_time"
    list_display = ["action_time", "user", "content_type", "object_repr", "action"]
    list_filter = ["action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["object_repr"]

    @admin.display(ordering="action_flag")
    def action(self, entry: Any) -> Any:
        # A user who reads rows on the SQL page changes nothing.
        return "Read" if entry.action_flag == READ else entry.get_action_flag_display()


class TenantLogEntryAdmin(LogEntryAdmin, TenantModelAdmin):
    """The admin log of one tenant."""
