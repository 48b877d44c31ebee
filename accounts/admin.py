"""The admin of users, tenants and memberships."""

import logging
from datetime import UTC, datetime
from functools import partial

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import DatabaseError, InterfaceError, NotSupportedError, transaction

from accounts import tokens
from accounts.models import ApiToken, Membership, SignInFailure, Tenant, User
from accounts.sign_in import AdminSignInForm
from do_bridge.admin import (
    GatherMixin,
    LogEntryAdmin,
    ReadOnlyAdminMixin,
    TenantLogEntryAdmin,
    TenantModelAdmin,
    tenant_site,
)
from do_bridge.inspection.home.tenant_admin import TenantHomeMixin
from do_bridge.members.admin import CopyWarningMixin
from do_bridge.members.syncing import sync_members
from do_bridge.tenancy import places
from do_bridge.tenancy.lifecycle.ledger import shown_place, with_places
from do_bridge.tenancy.lifecycle.provision import has_tables, provision_noted
from do_bridge.tenancy.slugs import is_valid_slug

logger = logging.getLogger(__name__)

admin.site.register(LogEntry, LogEntryAdmin)
tenant_site.register(LogEntry, TenantLogEntryAdmin)
admin.site.login_form = tenant_site.login_form = AdminSignInForm


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user", "tenant"]

    def get_queryset(self, request):
        # Each row shows its user and its tenant.
        return super().get_queryset(request).select_related("user", "tenant")


@admin.register(User)
class UserAdmin(CopyWarningMixin, GatherMixin, DjangoUserAdmin):
    list_display = ["username", "name", "email", "is_staff", "is_active", "date_joined"]
    search_fields = ["username", "name", "email"]
    date_hierarchy = "date_joined"
    inlines = [MembershipInline]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("name", "email")}),
        (
            "Rights",
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("username", "name", "usable_password", "password1", "password2"),
            },
        ),
    )

    def user_change_password(self, request, id, form_url=""):
        return self._warned(request, super().user_change_password, id, form_url)


class TenantForm(forms.ModelForm):
    """Refuse a new tenant whose object already has data."""

    def clean(self):
        values = super().clean()
        slug = values.get("slug", "")
        if not is_valid_slug(slug):
            return values  # the model's own validator reports the error
        try:
            place = places.place_of(values.get("jurisdiction", ""), values.get("location", ""))
            taken = not Tenant.objects.filter(slug=slug).exists() and has_tables(slug, place)
        except NotSupportedError as exc:
            # Such as a jurisdiction, which a local relay does not have.
            raise forms.ValidationError({"jurisdiction": str(exc)}) from exc
        except (DatabaseError, InterfaceError) as exc:
            raise forms.ValidationError(
                "The tenant's database does not answer. Try again in a moment."
            ) from exc
        if taken:
            self.add_error(
                "slug",
                "This tenant does not exist, but its database has tables already, perhaps of a "
                f"deleted tenant. Choose another slug, take the tables over with manage.py "
                f"create_tenant --adopt {slug}, or delete them with manage.py tenant_delete {slug}.",
            )
        return values


@admin.register(Tenant)
class TenantAdmin(TenantHomeMixin, CopyWarningMixin, GatherMixin, admin.ModelAdmin):
    form = TenantForm
    list_display = ["slug", "name", "place", "created", "home"]
    search_fields = ["slug", "name"]
    date_hierarchy = "created"
    inlines = [MembershipInline]
    actions = ["repair_copies"]

    def get_readonly_fields(self, request, obj=None):
        return ["slug", "place", "home"] if obj else []

    def get_fields(self, request, obj=None):
        return ["slug", "name", "place", "home"] if obj else ["slug", "name", "jurisdiction", "location"]

    def get_queryset(self, request):
        return with_places(super().get_queryset(request))

    @admin.display(description="place")
    def place(self, tenant):
        return shown_place(tenant)

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if not change:
            # The tenant's own database is made when its row is certain.
            transaction.on_commit(partial(self._provision, request, obj))

    def _provision(self, request, obj):
        try:
            provision_noted(obj.slug)
        except (DatabaseError, InterfaceError):
            logger.exception("The database of the new tenant %s could not be set up", obj.slug)
            text = f"The tenant {obj.slug} was added, but its own database is not ready. "
            text += f"Finish it with: manage.py create_tenant {obj.slug}"
            self.message_user(request, text, messages.ERROR)

    def has_delete_permission(self, request, obj=None):
        # Without the row nobody could reach the tenant's object, and its data would stay behind unseen.
        return False

    @admin.action(description="Update the copies of members", permissions=["change"])
    def repair_copies(self, request, queryset):
        for tenant in queryset:
            count = sync_members(tenant)
            self.message_user(request, f"{tenant.slug}: {count} members", messages.SUCCESS)


@admin.register(Membership)
class MembershipAdmin(CopyWarningMixin, GatherMixin, admin.ModelAdmin):
    list_display = ["user", "tenant", "role", "created"]
    list_filter = ["role"]
    list_select_related = ["user", "tenant"]
    search_fields = ["user__username", "user__name", "tenant__slug", "tenant__name"]
    autocomplete_fields = ["user", "tenant"]
    date_hierarchy = "created"

    def get_readonly_fields(self, request, obj=None):
        # Another user or tenant is another membership, and the copy of the old one needs an update.
        return ["user", "tenant"] if obj else []


@admin.register(ApiToken)
class ApiTokenAdmin(GatherMixin, admin.ModelAdmin):
    """Tokens for programs: the text of a new one is shown once."""

    list_display = ["name", "beginning", "user", "created", "revoked"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username"]
    autocomplete_fields = ["user"]
    actions = ["revoke"]

    def get_fields(self, request, obj=None):
        if obj:
            return ["name", "user", "beginning", "created", "revoked"]
        # Others act as themselves: a token of a superuser would give them every right.
        return ["name", "user"] if request.user.is_superuser else ["name"]

    def get_readonly_fields(self, request, obj=None):
        return self.get_fields(request, obj) if obj else []

    def save_model(self, request, obj, form, change):
        if change:
            return
        row, text = tokens.create(obj.user if request.user.is_superuser else request.user, obj.name)
        obj.pk = row.pk
        self.message_user(
            request, f"The token is {text} - copy it now, because it is not shown again.", messages.WARNING
        )

    def get_actions(self, request, action_location=None):
        # Django 6.1 has the parameter, and looks for its name.
        located = {} if action_location is None else {"action_location": action_location}
        found = super().get_actions(request, **located)
        # A deleted row would say nothing about a token that was in use.
        found.pop("delete_selected", None)
        return found

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request, queryset):
        self.message_user(request, f"{tokens.revoke(queryset)} tokens revoked.", messages.SUCCESS)


@admin.register(SignInFailure)
class SignInFailureAdmin(GatherMixin, admin.ModelAdmin):
    """Failed logins; deleting a row ends its block."""

    list_display = ["who", "address", "failures", "last", "closed_until"]
    search_fields = ["username", "address"]
    fields = readonly_fields = ["who", "address", "failures", "last", "closed_until"]

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    @admin.display(description="name", ordering="username")
    def who(self, failure):
        return failure.username or "any name"

    @admin.display(description="last failure", ordering="last_at")
    def last(self, failure):
        return datetime.fromtimestamp(failure.last_at, UTC)

    @admin.display(description="closed until", ordering="blocked_until")
    def closed_until(self, failure):
        return datetime.fromtimestamp(failure.blocked_until, UTC) if failure.blocked_until else None


@admin.register(User, site=tenant_site)
class UserCopyAdmin(ReadOnlyAdminMixin, TenantModelAdmin):
    """The copies of members in a tenant's object.

    D1's admin changes the users themselves.
    """

    list_display = ["username", "name", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["username", "name"]
    fields = ["username", "name", "is_active"]
    ordering = ["username"]
