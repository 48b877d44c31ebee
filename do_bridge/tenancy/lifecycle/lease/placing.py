"""The place of a tenant that an operation makes."""

from do_bridge.tenancy.lifecycle.states import State
from do_bridge.tenancy.places import NONE

from .errors import Unfinished


def placed(row, place):
    """Return the ledger's row of a tenant that will be made in a Place.

    Raises Unfinished if its data may be in two other places, because the ledger keeps one of them.
    """
    if row.jurisdiction == place.jurisdiction:
        return row._replace(location=place.location)
    left = row.left_behind
    if row.fence and (row.state != State.DELETED or row.operation):
        if left not in (None, row.jurisdiction, place.jurisdiction):
            raise Unfinished(
                f"Interrupted operations have left data of {row.slug!r} in the jurisdictions "
                f"{left or NONE!r} and {row.jurisdiction or NONE!r}. "
                f"Run `manage.py tenant_delete {row.slug}`, then run the command again."
            )
        left = row.jurisdiction
    return row._replace(jurisdiction=place.jurisdiction, location=place.location, left_behind=left)
