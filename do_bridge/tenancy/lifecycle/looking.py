"""Read tenants' objects as they are: no catch-up, and no schema is refused."""

import contextvars
from contextlib import contextmanager

from django.db import OperationalError, connections

from do_bridge.driver.places import split_place
from do_bridge.tenancy.context import current
from do_bridge.tenancy.places import noted
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.slugs import alias_slug, tenant_alias

from .fencing import raise_fence, read_object
from .freezing import thaw

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


def refuse_elsewhere(lease):
    """Raise OperationalError if this thread's connection leads elsewhere.

    It must lead to the object of the lease, so that no tables are made where the tenant was before a move.
    No round trip.
    """
    if is_elsewhere(lease.row):
        raise OperationalError(
            f"Tenant {lease.slug!r} was moved while '{lease.operation}' ran, so that did nothing more. "
            "Run the command again."
        )


def is_elsewhere(row):
    """Return whether this thread's connection leads to a tenant's other object.

    `row` is the ledger's, which names the right one. No round trip.
    """
    connection = connections[tenant_alias(row.slug)]
    connection.ensure_connection()
    return (split_place(connection.connection.database)[1] or "") != row.jurisdiction


@contextmanager
def near(connection, place):
    """Let the calls in this block make the object near a Place, if they are its first.

    Place may be None. `connection` is Django's or the driver's.
    """
    if place is None or not place.location:
        yield
        return
    if hasattr(connection, "ensure_connection"):
        connection.ensure_connection()
        connection = connection.connection
    connection.location = place.location
    try:
        yield
    finally:
        connection.location = None


def is_unchecked():
    """Return whether the running code accepts tenants' objects as they are."""
    return _unchecked.get() or current().is_migration


def read_tenant(slug):
    """Return what the object of `slug` holds, as `states.Held`."""
    alias = tenant_alias(slug)
    with unchecked(alias), near(connections[alias], noted(slug)):
        return read_object(connections[alias])


def close_to_older(lease):
    """Make a tenant's object refuse older leases from now on; return what it holds.

    An object that an interrupted move has frozen is usable again.
    """
    alias = tenant_alias(lease.slug)
    with unchecked(alias):
        raise_fence(connections[alias], lease)
        return thaw(connections[alias], lease)
