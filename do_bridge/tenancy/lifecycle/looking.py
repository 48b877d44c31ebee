"""Looks at tenants' objects as they are: nobody catches up, and no schema is refused."""

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
    """Take tenants' objects as they are inside this block: nobody catches up, and no schema is refused.

    For migrations and for whoever inspects. With `alias` its open connection expects nothing meanwhile.
    """
    token = _unchecked.set(True)
    _expect(alias, lambda database: None)
    try:
        yield
    finally:
        _unchecked.reset(token)
        _expect(alias, known.expected)


def _expect(alias, fingerprint):
    """Change what this thread's open connection to a tenant expects, to `fingerprint(database)`."""
    connection = getattr(connections._connections, alias, None) if alias_slug(alias) else None
    if connection is not None and connection.connection is not None:
        connection.connection.expect = fingerprint(connection.connection.database)


def is_unchecked():
    """Say whether the code that runs takes tenants' objects as they are."""
    return _unchecked.get() or current().is_migration


def read_tenant(slug):
    """Return what the object of `slug` holds, whatever that is, as `lifecycle.Held`."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        return read_object(connections[alias])


def close_to_older(lease):
    """Let the object of a lease's tenant refuse older leases from now on, and return what it holds then."""
    alias = tenant_alias(lease.slug)
    with unchecked(alias):
        raise_fence(connections[alias], lease)
        return read_object(connections[alias])
