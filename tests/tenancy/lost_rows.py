"""Rows of tenants that are lost without `tenant_delete`, as by a restored backup of D1."""

from accounts.models import Tenant
from do_bridge.tenancy.lifecycle.keeping import drop_triggers, make_triggers, rows_may_go
from do_bridge.tenancy.tenants import lookup


def lose_row(slug):
    """Take a tenant's row away, with its memberships; its object and the ledger stay as they are."""
    drop_triggers("default")
    try:
        with rows_may_go():
            Tenant.objects.filter(slug=slug).delete()
    finally:
        make_triggers("default")
    lookup.forget(slug)
