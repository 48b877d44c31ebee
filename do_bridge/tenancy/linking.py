"""Let `atomic()` blocks without `using` cover the current tenant's database."""

from django.db import DEFAULT_DB_ALIAS, connections

from do_bridge.backends.remote_sqlite.blocks import linked

from .context import current


def leader_of(connection):
    """Return this thread's default connection for the current tenant's.

    Returns None for any other connection.
    """
    scope = current()
    if not scope.is_tenant or scope.alias != connection.alias:
        return None
    wrappers = connections._connections
    # If several wrappers exist for one alias, Django's blocks use this one.
    if getattr(wrappers, connection.alias, None) is not connection:
        return None
    return getattr(wrappers, DEFAULT_DB_ALIAS, None)


def link_blocks():
    """Let blocks without `using` cover the current tenant's database.

    It can be called more than once.
    """
    linked.install(leader_of)
