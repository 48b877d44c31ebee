"""`relay doctor`: check what the package relies on, on a live relay.

The probes run against live databases, too. They use only the driver and leave nothing behind. Their tables
exist inside one batch, which drops them or is rolled back. Rows that must be committed go into an object
with a random name.
"""

from __future__ import annotations

from .probe import Probe, Result, Status
from .probes import PROBES
from .runner import Report, examine
from .site import Site

__all__ = ["PROBES", "Probe", "Report", "Result", "Site", "Status", "examine"]
