"""Tells every template whose page it is, and where the directory is from there."""

from do_bridge.links import directory_root
from do_bridge.tenancy import current_tenant


def tenant(request):
    return {"tenant_slug": current_tenant() or "", "directory_root": directory_root(request)}
