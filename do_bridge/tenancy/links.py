"""Paths that lead out of a tenant: to the shared site, and from there to another tenant."""

from django.urls import get_script_prefix

from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.conf import conf


def directory_root(request):
    """Return where the shared site's URLs begin: a path, or from a tenant's own subdomain a whole URL."""
    prefix = get_script_prefix()
    slug = current_tenant()
    if not slug:
        return prefix
    inside = f"{conf('TENANT_PATH').lstrip('/')}{slug}/"
    if prefix.endswith(f"/{inside}"):
        return prefix.removesuffix(inside)
    return f"{request.scheme}://{conf('TENANT_DOMAIN')}/"


def tenant_root(request, slug):
    """Return where the URLs of tenant `slug` begin."""
    return f"{directory_root(request)}{conf('TENANT_PATH').lstrip('/')}{slug}/"
