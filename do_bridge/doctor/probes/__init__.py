"""All probes, in the order in which they run."""

from __future__ import annotations

from do_bridge.doctor.probe import Probe

from . import (
    access,
    batches,
    history,
    limits,
    measures,
    optimistic,
    places,
    replicas,
    schema,
    sql,
    transactions,
    types,
)
from .access import ANSWERS

PROBES: tuple[Probe, ...] = (
    *access.PROBES,
    *places.PROBES,
    *types.PROBES,
    *limits.PROBES,
    *sql.PROBES,
    *schema.PROBES,
    *batches.PROBES,
    *optimistic.PROBES,
    *replicas.PROBES,
    *transactions.PROBES,
    *history.PROBES,
    *measures.PROBES,
)

__all__ = ["ANSWERS", "PROBES"]
