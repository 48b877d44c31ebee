"""Empty tenants' objects under a lease, and release their storage."""

import contextlib
from functools import partial

from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.driver.places import join_place
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import tenant_alias

from . import leases
from .fencing import is_fenced, refuse_older


@contextlib.contextmanager
def connected(alias, jurisdiction=None, **options):
    """Yield a new driver connection to `alias`, whose errors are Django's.

    With a `jurisdiction`, which may be empty, it leads to the tenant's object there, whatever the ledger has.
    """
    from do_bridge.backends.sqlite_file.schema import connect

    wrapper = connections[alias]
    if jurisdiction is not None:
        options["database"] = join_place(f"do:{wrapper.settings_dict['NAME']}", jurisdiction)
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper, **options)) as connection:
        yield connection


def empty_tenant(lease):
    """Drop everything in the object of a lease's tenant, and release its storage.

    Another object that a move has left behind is emptied first. Raises LeaseLost if a newer lease has written
    to one, and Django's database errors.
    """
    if lease.row.left_behind is not None:
        empty_at(lease, lease.row.left_behind)
    empty_at(lease, lease.row.jurisdiction)
    _forget_connection(tenant_alias(lease.slug))


def empty_at(lease, jurisdiction):
    """Drop everything in a tenant's object in one jurisdiction.

    Its storage is released. Raises LeaseLost if a newer lease has written to it.
    """
    with noticing(lease), connected(tenant_alias(lease.slug), jurisdiction) as connection:
        empty(connection, partial(refuse_older, lease.fence))
        # This does nothing if another process has made tables since.
        connection.erase()


def empty_held_tenant(lease, connection):
    """Do what `empty_tenant` does in the open transaction of a connection, and commit.

    `connection` is a driver connection.
    """
    alias = tenant_alias(lease.slug)
    with noticing(lease), connections[alias].wrap_database_errors, connection.unkeyed():
        empty(connection, partial(refuse_older, lease.fence))
        connection.commit()
        connection.erase()
    if lease.row.left_behind is not None:
        empty_at(lease, lease.row.left_behind)
    _forget_connection(alias)


def drop_left_over(lease):
    """Drop what interrupted operations have left; the storage stays."""
    with noticing(lease), connected(tenant_alias(lease.slug), lease.row.jurisdiction) as connection:
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
    """Drop what was made under a lost lease.

    This is done if the tenant was deleted, or is elsewhere now.
    """
    row = leases.look(lease.slug)
    if row.emptied > lease.fence or row.jurisdiction != lease.row.jurisdiction:
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
