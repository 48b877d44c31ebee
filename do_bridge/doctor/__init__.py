"""`relay doctor`: probes of what the package relies on, run against a live relay and live databases.

The probes use the driver alone and leave nothing behind. Their tables exist inside one batch, which drops
them or is rolled back. What must be committed goes into an object of a random name.
"""

from __future__ import annotations

from .probe import Probe, Result, Status
from .probes import PROBES
from .runner import Report, examine
from .site import Site

__all__ = ["PROBES", "Probe", "Report", "Result", "Site", "Status", "examine"]
