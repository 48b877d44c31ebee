"""Two admin sites, one for D1 and one for the current tenant's object, that say what they show and lead to each other."""

import json

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.contenttypes.models import ContentType
from django.http import Http404, HttpResponseRedirect
from django.urls import get_script_prefix, path, reverse
from django.utils.functional import SimpleLazyObject

from do_bridge.links import directory_root, tenant_root
from do_bridge.tenancy import current_tenant, tenant_alias, validate_slug
from do_bridge.tenancy.conf import conf

SWITCHER_LIMIT = 200  # tenants offered by name; any other can be typed
LOG_LIMIT = 10
LOG_PAGE = 100


class DatabaseAdminSite(admin.AdminSite):
    """An admin site of one database: names it on each page and offers the others to staff."""

    def alias(self):
        """Return the alias of the database that this site shows."""
        raise NotImplementedError

    def tenant_slugs(self):
        """Return the slugs that the switcher offers, in order."""
        model = apps.get_model(conf("TENANT_MODEL"))
        slugs = (
            model._default_manager.using(conf("DIRECTORY_ALIAS"))
            .order_by("slug")
            .values_list("slug", flat=True)
        )
        return list(slugs[:SWITCHER_LIMIT])

    def each_context(self, request):
        slug = current_tenant() or ""
        name = f"Tenant {slug}" if slug else "D1, the directory"
        return {
            **super().each_context(request),
            "site_title": name,
            "site_header": name,
            "database_name": name,
            "database_slug": slug,
            "database_tenants": SimpleLazyObject(self.tenant_slugs),
            "database_directory": directory_root(request) + self._relative_index(),
        }

    def index(self, request, extra_context=None):
        log = LogEntry.objects.using(self.alias()).filter(user_id=request.user.pk)
        recent = log.select_related("content_type")[:LOG_LIMIT]
        return super().index(request, {"database_log": recent, **(extra_context or {})})

    def get_urls(self):
        return [path("switch/", self.admin_view(self.switch), name="switch"), *super().get_urls()]

    def switch(self, request):
        """Lead to the same admin of another database: `?tenant=<slug>`, or D1's without one."""
        slug = request.GET.get("tenant", "").strip()
        if not slug:
            return HttpResponseRedirect(directory_root(request) + self._relative_index())
        try:
            validate_slug(slug)
        except ValueError as exc:
            raise Http404("No tenant has such a name.") from exc
        return HttpResponseRedirect(tenant_root(request, slug) + self._relative_index())

    def _relative_index(self):
        return reverse("admin:index").removeprefix(get_script_prefix())


class DirectoryAdminSite(DatabaseAdminSite):
    """D1's data, under `/admin/`."""

    def alias(self):
        return conf("DIRECTORY_ALIAS")


class TenantAdminSite(DatabaseAdminSite):
    """The current tenant's data, under `/t/<slug>/admin/`; rights and sign-in stay D1's."""

    def alias(self):
        return tenant_alias(current_tenant())


tenant_site = TenantAdminSite(name="admin")


class ReadOnlyAdminMixin:
    """Shows rows and changes none."""

    def has_add_permission(self, request, *args):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class TenantModelAdmin(admin.ModelAdmin):
    """Keeps rows, form fields, autocompletes and the log in the current tenant's object, whatever the model's router says."""

    def get_queryset(self, request):
        return super().get_queryset(request).using(self.admin_site.alias())

    def get_form(self, request, obj=None, change=False, **kwargs):
        alias = self.admin_site.alias()

        class BoundForm(super().get_form(request, obj, change, **kwargs)):
            def __init__(self, *args, **form_kwargs):
                super().__init__(*args, **form_kwargs)
                # A new row is checked against the database that it will be saved in.
                self.instance._state.db = alias

        return BoundForm

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        return super().formfield_for_foreignkey(
            db_field, request, **{"using": self.admin_site.alias(), **kwargs}
        )

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        return super().formfield_for_manytomany(
            db_field, request, **{"using": self.admin_site.alias(), **kwargs}
        )

    def save_model(self, request, obj, form, change):
        obj.save(using=self.admin_site.alias())

    def delete_model(self, request, obj):
        obj.delete(using=self.admin_site.alias())

    def copy_user(self, user, alias):
        """Make sure that the acting user has a row in the object, to which the log's rows point."""

    def log_addition(self, request, obj, message):
        return self._log(request, [obj], ADDITION, message)[0]

    def log_change(self, request, obj, message):
        return self._log(request, [obj], CHANGE, message)[0]

    def log_deletions(self, request, queryset):
        return self._log(request, queryset, DELETION, "")

    def _log(self, request, objects, flag, message):
        alias = self.admin_site.alias()
        self.copy_user(request.user, alias)
        kinds = ContentType.objects.db_manager(alias)
        if isinstance(message, list):
            message = json.dumps(message)
        entries = [
            LogEntry(
                user_id=request.user.pk,
                content_type_id=kinds.get_for_model(obj, for_concrete_model=False).pk,
                object_id=obj.pk,
                object_repr=str(obj)[:200],
                action_flag=flag,
                change_message=message,
            )
            for obj in objects
        ]
        return LogEntry.objects.using(alias).bulk_create(entries)

    def history_view(self, request, object_id, extra_context=None):
        """Show the log of this tenant alone: its keys are other objects' keys elsewhere."""
        alias = self.admin_site.alias()
        kind = ContentType.objects.db_manager(alias).get_for_model(self.model)
        log = LogEntry.objects.using(alias).filter(object_id=unquote(object_id), content_type_id=kind.pk)
        log = log.select_related("user", "content_type").order_by("action_time")
        paginator = self.get_paginator(request, log, LOG_PAGE)
        page = paginator.get_page(request.GET.get(PAGE_VAR, 1))
        own = {
            "action_list": page,
            "page_range": paginator.get_elided_page_range(page.number),
            "pagination_required": paginator.num_pages > 1,
        }
        return super().history_view(request, object_id, {**own, **(extra_context or {})})


class LogEntryAdmin(ReadOnlyAdminMixin, admin.ModelAdmin):
    """Who did what, by day."""

    date_hierarchy = "action_time"
    list_display = ["action_time", "user", "content_type", "object_repr", "action_flag"]
    list_filter = ["action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["object_repr"]


class TenantLogEntryAdmin(LogEntryAdmin, TenantModelAdmin):
    """The same, of one tenant."""
