"""Deletes tenants: the object's content first, then all that belongs to the tenant in D1."""

from functools import partial

from django.db import DatabaseError, connections
from django.db.models.deletion import Collector

from do_bridge.batches import batch
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import lookup, tenant_model

from . import leases, ledger
from .emptying import drop_left_over, empty_held_tenant, empty_tenant
from .keeping import rows_may_go
from .looking import read_tenant
from .states import Operation, State


def is_known(slug):
    """Say whether the tenant has a row, or the ledger knows of anything that its object may hold."""
    row = leases.look(slug)
    return row.is_registered or (bool(row.fence or row.operation) and row.state != State.DELETED)


def delete_tenant(slug, dump=None):
    """Empty the tenant's object, then remove its rows from D1, memberships too, in one batch.

    Safe to repeat after a failure: until both are done the ledger says that the deletion is not finished, and
    nothing else is done with the tenant. Raises Django's database errors, Held and LeaseLost among them;
    ProtectedError or RestrictedError, before anything is done, where other rows of D1 keep the tenant's.
    `dump(then)` keeps the tenant first, and calls `then(connection)` in the transaction in which it has read
    the object, so that no write comes in between; what it raises instead ends the deletion before it begins.
    """
    _refuse_kept(slug)
    lease = leases.take(slug, Operation.DELETE, partial(read_tenant, slug))
    with leases.kept(lease):
        if dump is None:
            _empty(lease, partial(empty_tenant, lease))
        else:
            _dump_first(lease, dump)
        remove_rows(lease, State.DELETED)
    # Somebody whose lease had expired may have made tables again.
    try:
        drop_left_over(lease)
    except leases.LeaseLost:
        # They are a new tenant's.
        return


def _dump_first(lease, dump):
    has_begun = []

    def then(connection):
        has_begun.append(True)
        _empty(lease, partial(empty_held_tenant, lease, connection))

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


def remove_rows(lease, state, emptied=True):
    """Remove the tenant's row from D1 with all that belongs to it, and end the lease, in one batch.

    `emptied`: whether the object was emptied under this lease. Raises LeaseLost, with nothing done.
    """
    directory, slug = conf("DIRECTORY_ALIAS"), lease.slug
    values = {"state": state, "fingerprint": "", "operation": "", "owner": "", "expires": None, "error": ""}
    if emptied:
        values["emptied"] = lease.fence
    sql, params = leases.still_mine(lease)
    try:
        with batch(using=directory), rows_may_go():
            with connections[directory].cursor() as cursor:
                cursor.execute(sql, params)
            # Before the row: D1's triggers keep that of a tenant that is not noted as deleted.
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
    # It collects what would go along, and raises for what may not.
    Collector(using=directory).collect(list(tenants))
