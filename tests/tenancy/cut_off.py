"""Operations on tenants that were killed, or failed: their leases stand in the ledger, expired."""

from do_bridge.tenancy.lifecycle.lease import leases


def cut_off(slugs, operation, error="", seconds=0):
    """Begin an operation on tenants, one slug or many, and leave it; returns {slug: Lease}."""
    slugs = [slugs] if isinstance(slugs, str) else slugs
    taken = leases.take_many(leases.look_at_many(slugs).values(), operation, seconds=seconds)
    if error:
        leases.fail_many([(lease, error) for lease in taken.values()])
    return taken
