"""The differences that are expected, each with its reason; one that is gone fails the run."""

from __future__ import annotations

from tests.applications.compare import Known

KNOWN: dict[str, list[Known]] = {}
