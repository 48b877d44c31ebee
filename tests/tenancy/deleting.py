"""Deletions of tenants, and what they leave in the object."""

from io import StringIO

from django.core.management import call_command
from django.db import connections

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.replicated.sql import run_batch
from tests.tenancy.cut_off import cut_off


def delete(slug, **options):
    out = StringIO()
    call_command("tenant_delete", slug, stdout=out, stderr=out, **options)
    return out.getvalue()


def everything_in(slug):
    """The names in the object, the runtime's own among them."""
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [("SELECT name FROM sqlite_master", None)])
    return [name for (name,) in result.rows if not name.startswith("__miniflare")]


def tables_of(slug):
    query = (
        "SELECT name FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' "
        "AND name <> 'sqlite_sequence'"
    )
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [(query, None)])
    return [name for (name,) in result.rows]


def begun(slug, operation="create"):
    """Return the lease of an operation that is cut off before it has reached the object."""
    return cut_off(slug, operation)[slug]
