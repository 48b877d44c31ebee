"""Give every template the current tenant, and the way to the shared site."""

from do_bridge import current_tenant
from do_bridge.tenancy.links import directory_root


def tenant(request):
    return {"tenant_slug": current_tenant() or "", "directory_root": directory_root(request)}
