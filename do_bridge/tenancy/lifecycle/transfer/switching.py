"""The switch of a move: one batch after which D1 names the other object."""

from dataclasses import replace

from django.db import DatabaseError

from do_bridge.tenancy import places
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.lease.lease_sql import FENCE_NOW, directory, names
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import lookup

# How often a batch is sent if its answer is lost. The fencing token keeps it from running twice.
_ATTEMPTS = 3


class SwitchUnknown(DatabaseError):
    """D1's answer is lost: the tenant is in the old place or in the new one."""

    def __init__(self, error):
        super().__init__(
            f"It is unknown whether D1 has switched the tenant to the new place: {error}. Run the command "
            "again."
        )


def switch(lease, place):
    """Write a tenant's new Place into D1; return the Lease to continue with.

    The batch also raises the fencing token, so that readers of the ledger know which place is the later one.
    Raises LeaseLost and Django's database errors if nothing was written, and SwitchUnknown.
    """
    has_doubt = False
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _, result, *_ = run_batch(directory(), _statements(lease, place))
            fence = result.rows[0][0]
            break
        except DatabaseError as error:
            is_lost = leases.is_lost(error)
            if not (is_lost or _may_have_run(error)) or attempt == _ATTEMPTS:
                raise (SwitchUnknown(error) if has_doubt or _may_have_run(error) else error) from error
            if is_lost:
                if not has_doubt or (fence := _written(lease)) is None:
                    raise leases.lost(lease) from error
                break
            has_doubt = True
    row = lease.row._replace(
        jurisdiction=place.jurisdiction,
        location=place.location,
        left_behind=lease.row.jurisdiction,
        fence=fence,
    )
    places.note(row)
    lookup.forget(lease.slug)
    return replace(lease, row=row, fence=fence)


def _written(lease):
    """Return the fencing token that the lease's own switch wrote, or None.

    Raises SwitchUnknown.
    """
    try:
        row = leases.look(lease.slug)
    except DatabaseError as error:
        raise SwitchUnknown(error) from error
    is_own = row.operation == Operation.MOVE and row.owner == lease.owner
    return row.fence if is_own and row.fence > lease.fence else None


def _may_have_run(error):
    return getattr(error.__cause__, "effect", None) == "unknown"


def _statements(lease, place):
    states, tenants, key = names()
    values = [place.jurisdiction, place.location, lease.row.jurisdiction, ledger.version(), lease.slug]
    moved = (
        f"UPDATE {states} SET jurisdiction = %s, location = %s, left_behind = %s, version = %s, "  # noqa: S608
        f"fence = max(fence + 1, {FENCE_NOW}) WHERE slug = %s RETURNING fence"
    )
    statements = [leases.still_mine(lease), (moved, values)]
    quote = directory().ops.quote_name
    named = zip(places.fields(), (place.jurisdiction or places.NONE, place.location), strict=True)
    if columns := {field.column: value for field, value in named if field is not None}:
        assigned = ", ".join(f"{quote(column)} = %s" for column in columns)
        sql = f"UPDATE {tenants} SET {assigned} WHERE {key} = %s"  # noqa: S608
        statements.append((sql, [*columns.values(), lease.slug]))
    return statements
