"""Whose a row is: every row of a tenant carries the tenant's mark, and whoever reads it compares."""

from __future__ import annotations

import re
import threading
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

_MARK = re.compile(r"mark\(([^)]*)\)")
_FRAMES = 16  # of an unexpected error's traceback
_KEPT = 20  # mix-ups and unexpected errors that are reported in words


class MixUp(AssertionError):
    """Something of one tenant was seen or done in another."""


def mark(slug: str) -> str:
    """Return what stands in every row of the tenant."""
    return f"mark({slug})"


def owners(text: str) -> set[str]:
    """Return the slugs whose marks are in the text."""
    return set(_MARK.findall(text))


def check(slug: str, *texts: str) -> None:
    """Raise MixUp unless each text carries this tenant's mark and no other's."""
    for text in texts:
        found = owners(text)
        if found != {slug}:
            raise MixUp(f"{slug} was asked and {sorted(found) or 'nobody'} answered")


def require(slug: str, holds: bool, what: str) -> None:
    """Raise MixUp with these words where something about the tenant does not hold."""
    if not holds:
        raise MixUp(f"{slug}: {what}")


def _place(error: BaseException) -> str:
    """Return the innermost functions that the error came through, the last one last."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)


class Tally:
    """Counts operations, errors and mix-ups; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.operations: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.mix_ups: list[str] = []
        self.mixed_up = 0
        # By operation: how often it went wrong, and how many operations this role had done before the first.
        self.wrong: Counter[str] = Counter()
        self.first_wrong: dict[str, int] = {}
        self.unexpected: list[str] = []
        self.trips = 0
        self.roles: list[tuple[str, int, int, float]] = []

    def did(self, kind: str, count: int) -> None:
        """Note `count` operations that were checked and right."""
        with self._lock:
            self.operations[kind] += count

    def took(self, trips: int) -> None:
        """Note so many round trips of this process's own."""
        with self._lock:
            self.trips += trips

    def worked(self, role: str, seconds: float) -> None:
        """Note that all that was counted is this role's."""
        self.roles.append((role, sum(self.operations.values()), self.trips, seconds))

    def mixed(self, kind: str, error: BaseException) -> None:
        """Note a mix-up."""
        with self._lock:
            self.mixed_up += 1
            self._went_wrong(kind)
            if len(self.mix_ups) < _KEPT:
                self.mix_ups.append(f"{kind}: {error}")

    def failed(self, kind: str, error: BaseException, *, expected: bool) -> None:
        """Note an error; one that no fault explains makes the run fail."""
        with self._lock:
            self.errors[type(error).__name__] += 1
            if not expected:
                self._went_wrong(f"{kind} ({type(error).__name__})")
            if not expected and len(self.unexpected) < _KEPT:
                self.unexpected.append(f"{kind}: {type(error).__name__}: {error} [{_place(error)}]")

    def _went_wrong(self, kind: str) -> None:
        self.wrong[kind] += 1
        self.first_wrong.setdefault(kind, sum(self.operations.values()))

    def as_json(self) -> dict[str, Any]:
        """Return what another process can read and `add`."""
        return {
            "operations": dict(self.operations),
            "errors": dict(self.errors),
            "mix_ups": self.mix_ups,
            "mixed_up": self.mixed_up,
            "unexpected": self.unexpected,
            "wrong": dict(self.wrong),
            "first_wrong": self.first_wrong,
            "trips": self.trips,
            "roles": self.roles,
        }

    def add(self, other: dict[str, Any]) -> None:
        """Add what another process has counted."""
        self.operations.update(other["operations"])
        self.errors.update(other["errors"])
        self.mix_ups += other["mix_ups"]
        self.mixed_up += other["mixed_up"]
        self.unexpected += other["unexpected"]
        self.wrong.update(other["wrong"])
        for kind, done in other["first_wrong"].items():
            self.first_wrong[kind] = min(done, self.first_wrong.get(kind, done))
        self.trips += other["trips"]
        self.roles += other["roles"]
