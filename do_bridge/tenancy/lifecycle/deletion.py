"""Delete tenants: erase the object first, then delete the tenant's rows in D1."""

from functools import partial

from django.db import DatabaseError, connections
from django.db.models.deletion import Collector

from do_bridge.batches import batch
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import lookup, tenant_model

from . import ledger
from .emptying import erase_held_tenant, erase_tenant
from .keeping import rows_may_go
from .lease import leases
from .looking import read_tenant
from .states import Operation, State


def is_known(slug):
    """Return whether the slug is a tenant's, or was one's."""
    row = leases.look(slug)
    return row.is_registered or bool(row.fence or row.operation)


def delete_tenant(slug, dump=None):
    """Erase the tenant's object, then remove its rows from D1 in one batch.

    Memberships are removed too. The object's storage is deleted with its data, so nothing is billed. Safe to
    repeat after a failure: until both are done, the ledger records the deletion as unfinished, and no other
    operation begins.

    `dump(then)` saves the tenant first, and calls `then(connection)` in the transaction that has read the
    object, so that no write is lost. If it raises, nothing is deleted.

    Raises Django's database errors, Held and LeaseLost among them. If other rows of D1 protect the tenant's,
    raises ProtectedError or RestrictedError before anything is done, and TransactionManagementError inside an
    `atomic()` on the shared database that can be rolled back.
    """
    _refuse_kept(slug)
    lease = leases.take(slug, Operation.DELETE, partial(read_tenant, slug))
    with leases.kept(lease):
        if dump is None:
            _empty(lease, partial(erase_tenant, lease))
        else:
            _dump_first(lease, dump)
        remove_rows(lease, State.DELETED, emptied=lease.fence)
    # A process whose lease had expired may have made tables again.
    try:
        erase_tenant(lease)
    except leases.LeaseLost:
        # The tables are a new tenant's.
        return


def _dump_first(lease, dump):
    has_begun = []

    def then(connection):
        has_begun.append(True)
        _empty(lease, partial(erase_held_tenant, lease, connection))

    try:
        dump(then)
    finally:
        if not has_begun:
            leases.give_back([lease])


def _empty(lease, empty):
    try:
        empty()
    except Exception as error:
        leases.fail(lease, error)
        raise


def remove_rows(lease, state, *, emptied):
    """Delete the tenant's row and its dependents and end the lease, in one batch.

    The rows are those of D1. `emptied` is the fencing token below which everything in the object is left
    over, or None if the object was not emptied. Raises LeaseLost; then nothing was deleted.
    """
    directory, slug = conf("DIRECTORY_ALIAS"), lease.slug
    values = {"state": state, "fingerprint": "", "operation": "", "owner": "", "expires": None, "error": ""}
    if emptied is not None:
        values |= {"emptied": emptied, "left_behind": None}
    sql, params = leases.still_mine(lease)
    try:
        with batch(using=directory), rows_may_go():
            with connections[directory].cursor() as cursor:
                cursor.execute(sql, params)
            # This comes first: D1's triggers keep the row of a tenant that is not recorded as deleted.
            ledger.all_states().filter(slug=slug).update(**values, **ledger.stamp())
            for tenant in tenant_model()._base_manager.using(directory).filter(slug=slug):
                tenant.delete(using=directory)
    except DatabaseError as error:
        if leases.is_lost(error):
            raise leases.lost(lease) from error
        leases.fail(lease, error)
        raise
    finally:
        lookup.forget(slug)


def _refuse_kept(slug):
    directory = conf("DIRECTORY_ALIAS")
    tenants = tenant_model()._base_manager.using(directory).filter(slug=slug)
    # It collects what would be deleted, and raises for protected rows.
    Collector(using=directory).collect(list(tenants))
