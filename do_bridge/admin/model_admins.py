"""Base classes of admins: a tenant's rows, read-only rows, and the log."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import connections

from do_bridge.admin.tenant import TenantFieldsMixin, bound_form, tenant_filter
from do_bridge.admin.together import GatherMixin
from do_bridge.tenancy.orm.last_writes import saves_in_one_write
from do_bridge.tenancy.replicated.users import need_copy, writer

#: In D1's admin log, beside Django's 1 to 3 for additions, changes and deletions.
READ = 4


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
        """Return the context manager in which a row of the admin log is saved.

        Django's own pages write nothing after that row, so it can be committed together with its transaction.
        If other code may write after it, the context manager does nothing.
        """
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
