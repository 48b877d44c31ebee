"""Empty tenants' objects under a lease, and release their storage."""

import contextlib
from functools import partial

from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import tenant_alias

from . import leases
from .fencing import is_fenced, refuse_older


@contextlib.contextmanager
def connected(alias):
    """Yield a new driver connection to `alias`, whose errors are Django's."""
    from do_bridge.backends.sqlite_file.schema import connect

    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper)) as connection:
        yield connection


def empty_tenant(lease):
    """Drop everything in the object of a lease's tenant, and release its storage.

    Raises LeaseLost if a newer lease has written to it, and Django's database errors.
    """
    alias = tenant_alias(lease.slug)
    with noticing(lease), connected(alias) as connection:
        empty(connection, partial(refuse_older, lease.fence))
        # This does nothing if another process has made tables since.
        connection.erase()
    _forget_connection(alias)


def empty_held_tenant(lease, connection):
    """Do what `empty_tenant` does in the open transaction of a driver connection, and commit it."""
    alias = tenant_alias(lease.slug)
    with noticing(lease), connections[alias].wrap_database_errors, connection.unkeyed():
        empty(connection, partial(refuse_older, lease.fence))
        connection.commit()
        connection.erase()
    _forget_connection(alias)


def drop_left_over(lease):
    """Drop what interrupted operations have left; the storage stays."""
    alias = tenant_alias(lease.slug)
    with noticing(lease), connected(alias) as connection:
        empty(connection, partial(refuse_older, lease.fence))


def settle(lease, fingerprint):
    """End a lease whose tenant is ready at the schema `fingerprint`. Raises LeaseLost.

    If the tenant was deleted under the lease, what was made since is dropped.
    """
    try:
        leases.settle(lease, fingerprint=fingerprint)
    except leases.LeaseLost:
        clear(lease)
        raise


def clear(lease):
    """Drop what was made under a lost lease, if its tenant was deleted."""
    if leases.look(lease.slug).emptied > lease.fence:
        # What a newer lease has written is protected by its fencing token.
        with contextlib.suppress(leases.LeaseLost):
            drop_left_over(lease)


@contextlib.contextmanager
def noticing(lease):
    """Raise LeaseLost if the object refuses a write because of a newer lease."""
    try:
        yield
    except DatabaseError as error:
        if is_fenced(error):
            raise leases.lost(lease) from error
        raise


def _forget_connection(alias):
    if alias in tenant_databases().live_aliases():
        connections[alias].close()
