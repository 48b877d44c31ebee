"""Which blocks cover a tenant's database: those on the default alias that name no database."""

from django.db import DEFAULT_DB_ALIAS, connections

from do_bridge.backends.remote_sqlite.blocks import linked

from .context import current


def leader_of(connection):
    """Return this thread's default connection for that of the current tenant, None for any other."""
    scope = current()
    if not scope.is_tenant or scope.alias != connection.alias:
        return None
    wrappers = connections._connections
    # Of several wrappers to one alias Django's blocks reach this one.
    if getattr(wrappers, connection.alias, None) is not connection:
        return None
    return getattr(wrappers, DEFAULT_DB_ALIAS, None)


def link_blocks():
    """Let blocks that name no database cover the current tenant's; may be called again."""
    linked.install(leader_of)
