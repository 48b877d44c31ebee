"""Refuse tenants whose objects are empty and should have data.

A creation or a load makes such an object again, because an operator has asked for it. Nothing else does.
"""

from contextlib import contextmanager, suppress
from contextvars import ContextVar

from django.db import DatabaseError

from do_bridge.tenancy.schema.errors import TenantLost

from .lease import leases
from .ledger import error_text
from .states import Do, Held, Operation, has_data, next_step

_needs_data: ContextVar[bool] = ContextVar("do_bridge_needs_data", default=False)
_MARK = f"{TenantLost.__name__}:"


@contextmanager
def needing_data(row):
    """Let migrations in this block raise TenantLost for an empty object.

    It applies if the ledger's `row`, as it was before the operation, says that the tenant has data.
    """
    token = _needs_data.set(has_data(row))
    try:
        yield
    finally:
        _needs_data.reset(token)


@contextmanager
def refusing_lost(lease):
    """Do for migrations under a lease what `needing_data` does.

    Raises LeaseLost if another operation has taken the tenant over, and may have emptied the object.
    """
    try:
        with needing_data(lease.row):
            yield
    except TenantLost as error:
        if leases.look(lease.slug).fence != lease.fence:
            raise leases.lost(lease) from error
        raise


def is_data_needed():
    """Return whether an empty object is refused now."""
    return _needs_data.get()


def lost_row(slug):
    """Return the ledger's row of a tenant that is lost, else None.

    The tenant's object is known to be empty. One round trip to D1.
    """
    row = leases.look(slug)
    return row if not row.is_live and next_step(row, Held(), Operation.MIGRATE) == Do.LOST else None


def is_recorded(state):
    """Return whether a TenantState says that the tenant was found lost."""
    return state.operation == Operation.MIGRATE and state.error.startswith(_MARK)


def record_lost(row):
    """Record in the ledger that a use has found a tenant lost, unless it is recorded.

    Two round trips to D1. Returns the error.
    """
    error = TenantLost(row.slug)
    if error_text(error) != row.error:
        with suppress(DatabaseError):
            if lease := leases.take_many([row], Operation.MIGRATE, row.owner).get(row.slug):
                leases.fail(lease, error)
    return error
