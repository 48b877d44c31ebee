"""The differences that are expected, each with its reason; one that does not appear any more fails the run."""

from __future__ import annotations

from tests.applications.compare import Known

KNOWN: dict[str, list[Known]] = {}
