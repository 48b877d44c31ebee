"""Lead from the admin of a project's tenants to their homes."""

from django.apps import apps
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from do_bridge.tenancy.slugs import is_valid_slug

from ..access import may_look
from ..inspected import Inspected


def is_installed():
    return apps.is_installed("do_bridge.inspection")


class TenantHomeMixin:
    """For the ModelAdmin of the model for tenants: a new tenant ends at its home.

    Add "home" to `list_display` and `readonly_fields` for a link to it.
    """

    def home(self, tenant):
        """Return the link to the tenant's home, nothing in a project without the app."""
        if not is_installed() or not tenant.slug:
            return ""
        if not is_valid_slug(tenant.slug):
            return "No database can have this slug"
        url = reverse("admin:tenant_home", args=[Inspected(tenant.slug)])
        return format_html('<a href="{}">Home of {}</a>', url, tenant.slug)

    def response_add(self, request, obj, post_url_continue=None):
        """Redirect to the new tenant's home, unless another button was used."""
        elsewhere = {"_addanother", "_continue", "_popup"} & request.POST.keys()
        if not is_valid_slug(obj.slug):
            self.message_user(
                request,
                "This row is not a tenant, because no database can have its slug. Use 1 to 63 lower-case "
                "ASCII letters, digits and inner hyphens.",
                "WARNING",
            )
            return super().response_add(request, obj, post_url_continue)
        if elsewhere or not is_installed() or not may_look(request.user):
            return super().response_add(request, obj, post_url_continue)
        self.message_user(request, f"Tenant {obj.slug} was added.", "SUCCESS")
        return HttpResponseRedirect(reverse("admin:tenant_home", args=[Inspected(obj.slug)]))
