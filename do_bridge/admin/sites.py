"""Two admin sites, D1's and the current tenant's, which name their database and link to each other."""

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import get_script_prefix, path, reverse
from django.utils.functional import SimpleLazyObject

from do_bridge.admin.tenant import TenantFieldsMixin, bound_form, tenant_filter
from do_bridge.inspection import urls as inspection_urls
from do_bridge.inspection.access import inside_admin, may_look
from do_bridge.inspection.databases import Inspected, matching
from do_bridge.inspection.views_rows import READ
from do_bridge.tenancy import current_tenant, tenant_alias, validate_slug
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.links import directory_root, tenant_root
from do_bridge.tenancy.replicated.users import need_copy, writer
from do_bridge.tenancy.tenants import lookup, tenant_model

SWITCHER_LIMIT = 200  # tenants offered at once; the others are offered while the user types
SEARCH_LIMIT = 20
LOG_LIMIT = 10


class DatabaseAdminSite(admin.AdminSite):
    """An admin site of one database: it names the database on each page and offers the others to staff."""

    def alias(self):
        """Return the alias of the database that this site shows."""
        raise NotImplementedError

    def tenant_slugs(self):
        """Return the slugs that the switcher offers, in order, from a short-lived cache."""
        return lookup.first_slugs(SWITCHER_LIMIT)

    def each_context(self, request):
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
        """Return (URL, text) of this site's pages about databases that the user may see, or None."""
        if not may_look(request.user):
            return None
        if slug:
            return reverse("admin:database", args=[Inspected(slug)]), "Browse this database"
        return reverse("admin:databases"), "All databases"

    def admin_view(self, view, cacheable=False):
        return super().admin_view(inside_admin(self, view), cacheable)

    def index(self, request, extra_context=None):
        log = LogEntry.objects.using(self.alias()).filter(user_id=request.user.pk)
        recent = log.select_related("content_type")[:LOG_LIMIT]
        return super().index(request, {"database_log": recent, **(extra_context or {})})

    def get_urls(self):
        return [
            path("switch/", self.admin_view(self.switch), name="switch"),
            path("switch/tenants.json", self.admin_view(self.switch_tenants), name="switch_tenants"),
            *inspection_urls.patterns(self),
            *super().get_urls(),
        ]

    def switch(self, request):
        """Redirect to the same admin of another database: `?tenant=<slug>`, or D1's without one."""
        slug = request.GET.get("tenant", "").strip()
        if not slug:
            return HttpResponseRedirect(directory_root(request) + self._relative_index())
        try:
            validate_slug(slug)
        except ValueError as exc:
            raise Http404("No tenant has this slug.") from exc
        if lookup.get(slug) is None and may_look(request.user):
            # The beginning of a slug: the list shows the tenants that match it.
            found = f"{self._relative_index()}databases/?q={slug}"
            return HttpResponseRedirect(directory_root(request) + found)
        return HttpResponseRedirect(tenant_root(request, slug) + self._relative_index())

    def switch_tenants(self, request):
        """Answer `?q=<part of a slug or name>` with slugs; those that begin with it come first."""
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

    def alias(self):
        return conf("DIRECTORY_ALIAS")


class TenantAdminSite(DatabaseAdminSite):
    """The current tenant's data, under `/t/<slug>/admin/`; permissions and login stay D1's."""

    def alias(self):
        return tenant_alias(current_tenant())


tenant_site = TenantAdminSite(name="admin")


class ReadOnlyAdminMixin:
    """Show rows without allowing any change."""

    def has_add_permission(self, request, *args):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class TenantModelAdmin(TenantFieldsMixin, admin.ModelAdmin):
    """Keep rows, form fields, filters, autocompletes and the log in the current tenant's object.

    Its inlines need TenantInlineMixin.
    """

    def get_form(self, request, obj=None, change=False, **kwargs):
        return bound_form(super().get_form(request, obj, change, **kwargs), self.admin_site.alias())

    def get_list_filter(self, request):
        return [tenant_filter(self.model, item) for item in super().get_list_filter(request)]

    def save_model(self, request, obj, form, change):
        obj.save(using=self.admin_site.alias())

    def delete_model(self, request, obj):
        obj.delete(using=self.admin_site.alias())

    def copy_user(self, user, alias):
        """Make sure that the acting user has a row in the object, because the log's rows point at it.

        With the app do_bridge.members the row is written in the round trip of the log's row. Override this in
        a project without the app.
        """
        if writer.statements is None:
            raise NotImplementedError(
                f"{type(self).__name__}.copy_user() is missing, but the admin's log refers to a user. "
                "Add the app do_bridge.members, or override copy_user()."
            )
        need_copy(user, alias)

    # The log itself follows the context, and content types have the same keys in every database.

    def log_addition(self, request, obj, message):
        self.copy_user(request.user, self.admin_site.alias())
        return super().log_addition(request, obj, message)

    def log_change(self, request, obj, message):
        self.copy_user(request.user, self.admin_site.alias())
        return super().log_change(request, obj, message)

    def log_deletions(self, request, queryset):
        self.copy_user(request.user, self.admin_site.alias())
        return super().log_deletions(request, queryset)


class LogEntryAdmin(ReadOnlyAdminMixin, admin.ModelAdmin):
    """The admin log, by day."""

    date_hierarchy = "action_time"
    list_display = ["action_time", "user", "content_type", "object_repr", "action"]
    list_filter = ["action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["object_repr"]

    @admin.display(ordering="action_flag")
    def action(self, entry):
        # A user who reads rows on the SQL page changes nothing.
        return "Read" if entry.action_flag == READ else entry.get_action_flag_display()


class TenantLogEntryAdmin(LogEntryAdmin, TenantModelAdmin):
    """The admin log of one tenant."""
