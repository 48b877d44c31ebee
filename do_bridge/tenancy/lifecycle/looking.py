"""Read tenants' objects as they are: no catch-up, and no schema is refused."""

import contextvars
from contextlib import contextmanager

from django.db import connections

from do_bridge.tenancy.context import current
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.slugs import alias_slug, tenant_alias

from .fencing import raise_fence, read_object

_unchecked: contextvars.ContextVar[bool] = contextvars.ContextVar("do_bridge_unchecked", default=False)


@contextmanager
def unchecked(alias=None):
    """Accept any schema of a tenant's object inside this block, without a catch-up.

    For migrations and inspection. With `alias`, its open connection expects no schema until the block ends.
    """
    token = _unchecked.set(True)
    _expect(alias, lambda database: None)
    try:
        yield
    finally:
        _unchecked.reset(token)
        _expect(alias, known.expected)


def _expect(alias, fingerprint):
    """Make this thread's open connection to a tenant expect a schema.

    The schema's fingerprint is `fingerprint(database)`.
    """
    connection = getattr(connections._connections, alias, None) if alias_slug(alias) else None
    if connection is not None and connection.connection is not None:
        connection.connection.expect = fingerprint(connection.connection.database)


def is_unchecked():
    """Return whether the running code accepts tenants' objects as they are."""
    return _unchecked.get() or current().is_migration


def read_tenant(slug):
    """Return what the object of `slug` holds, as `states.Held`."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        return read_object(connections[alias])


def close_to_older(lease):
    """Make a tenant's object refuse older leases from now on; return what it holds."""
    alias = tenant_alias(lease.slug)
    with unchecked(alias):
        raise_fence(connections[alias], lease)
        return read_object(connections[alias])
