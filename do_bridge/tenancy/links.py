"""URLs of the shared site and of other tenants, as seen from the current tenant."""

from django.urls import get_script_prefix

from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.domains import shared_host


def directory_root(request):
    """Return the root of the shared site's URLs.

    It is a path, or a full URL if the tenant has a subdomain or a domain of its own.
    """
    prefix = get_script_prefix()
    slug = current_tenant()
    if not slug:
        return prefix
    inside = f"{conf('TENANT_PATH').lstrip('/')}{slug}/"
    if prefix.endswith(f"/{inside}"):
        return prefix.removesuffix(inside)
    return f"{request.scheme}://{shared_host()}/"


def tenant_root(request, slug):
    """Return the root of the URLs of tenant `slug`."""
    return f"{directory_root(request)}{conf('TENANT_PATH').lstrip('/')}{slug}/"
