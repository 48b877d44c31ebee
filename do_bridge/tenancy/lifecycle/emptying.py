"""Empty tenants' objects under a lease, and release their storage."""

import contextlib
from functools import partial

from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.driver.exceptions import NO_JURISDICTION
from do_bridge.driver.places import join_place
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import tenant_alias

from .fencing import is_fenced, refuse_older
from .lease import leases

#: Higher than every fencing token, which is a time in milliseconds, and the largest that JSON carries safely.
NO_FENCE = 2**53 - 1


@contextlib.contextmanager
def connected(alias, jurisdiction=None, **options):
    """Yield a new driver connection to `alias`, whose errors are Django's.

    With a `jurisdiction`, which may be empty, it leads to the tenant's object there, even if the ledger names
    another one.
    """
    from do_bridge.backends.sqlite_file.schema import connect

    wrapper = connections[alias]
    if jurisdiction is not None:
        options["database"] = object_of(alias, jurisdiction)
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper, **options)) as connection:
        yield connection


def object_of(alias, jurisdiction):
    """Return the driver's name of a tenant's object in a jurisdiction."""
    return join_place(f"do:{connections[alias].settings_dict['NAME']}", jurisdiction)


def erase(connection, fence):
    """Delete all data that a lease up to `fence` may delete, and the storage.

    `connection` is a driver connection. One round trip. Raises the driver's error if a newer lease has
    written to the object.
    """
    if not connection.erase(fence):
        # A newer lease has written, which the guard reports; or the relay is older than fences.
        empty(connection, partial(refuse_older, fence))
        connection.erase(fence)


def erase_tenant(lease):
    """Erase the object of a lease's tenant: delete all data and the storage.

    One round trip, and one more for another object that a move has left behind, which is erased first.
    Raises LeaseLost if a newer lease has written to one, and Django's database errors.
    """
    erase_left_behind(lease)
    erase_at(lease, lease.row.jurisdiction)
    _forget_connection(tenant_alias(lease.slug))


def erase_at(lease, jurisdiction):
    """Erase the object of a lease's tenant in a jurisdiction.

    One round trip. Raises LeaseLost if a newer lease has written to it, and Django's database errors.
    """
    with noticing(lease), connected(tenant_alias(lease.slug), jurisdiction) as connection:
        erase(connection, lease.fence)


def erase_left_behind(lease):
    """Erase the object that a move has left behind, if there is one.

    One round trip. Raises LeaseLost, and Django's database errors.
    """
    if lease.row.left_behind is None:
        return
    try:
        erase_at(lease, lease.row.left_behind)
    except DatabaseError as error:
        # A runtime without this jurisdiction has no object in it.
        if NO_JURISDICTION not in str(error):
            raise


def erase_held_tenant(lease, connection):
    """Do what `erase_tenant` does in the open transaction of a connection, and commit.

    `connection` is a driver connection.
    """
    alias = tenant_alias(lease.slug)
    with noticing(lease), connections[alias].wrap_database_errors, connection.unkeyed():
        empty(connection, partial(refuse_older, lease.fence))
        connection.commit()
        erase(connection, lease.fence)
    erase_left_behind(lease)
    _forget_connection(alias)


def drop_left_over(lease):
    """Drop what interrupted operations have left, before the object is filled again."""
    with noticing(lease), connected(tenant_alias(lease.slug), lease.row.jurisdiction) as connection:
        empty(connection, partial(refuse_older, lease.fence))


def settle(lease, fingerprint):
    """End a lease whose tenant is ready at the schema `fingerprint`. Raises LeaseLost.

    If the tenant was deleted under the lease, what was made since is erased.
    """
    try:
        leases.settle(lease, fingerprint=fingerprint)
    except leases.LeaseLost:
        clear(lease)
        raise


def fail(lease, error):
    """Record a failure, as `leases.fail` does; return False if the lease was lost.

    If the tenant was deleted under the lease, what was made since is erased.
    """
    if leases.fail(lease, error):
        return True
    with contextlib.suppress(DatabaseError):
        clear(lease)
    return False


def clear(lease):
    """Erase what was made under a lost lease.

    This is done if the tenant was deleted, or is elsewhere now.
    """
    row = leases.look(lease.slug)
    if row.emptied > lease.fence or row.jurisdiction != lease.row.jurisdiction:
        # What a newer lease has written is protected by its fencing token.
        with contextlib.suppress(leases.LeaseLost):
            erase_tenant(lease)


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
