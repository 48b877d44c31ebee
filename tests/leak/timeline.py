"""What the object of a tenant must and must not hold at a moment, from what was done to it and what was told.

Everything has a span of time, from before it was begun until after it had ended. A lineage names the
stretches of time whose writes a tenant keeps: since its creation, or until a bookmark and since the restore.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tests.torture.journal import CONFIRMED, FAILED, UNKNOWN


class Span(NamedTuple):
    """Something happened between these two moments of the machine's clock."""

    begun: float
    ended: float


class Stretch(NamedTuple):
    """Writes of this time are kept; without `until` it goes on."""

    since: Span
    until: Span | None = None


Lineage = tuple[Stretch, ...]


def until(lineage: Lineage, moment: Span) -> Lineage:
    """Return what a tenant held at a moment, of its lineage then."""
    return (*lineage[:-1], lineage[-1]._replace(until=moment)) if lineage else ()


def since(lineage: Lineage, moment: Span) -> Lineage:
    """Return the lineage of a tenant that was made, or restored to one that has ended, at a moment."""
    return (*lineage, Stretch(moment))


def read(lineage: Sequence[Any]) -> Lineage:
    """Return a lineage that went through JSON."""
    return tuple(Stretch(Span(*first), last and Span(*last)) for first, last in lineage)


@dataclass(frozen=True)
class Write:
    """Rows that somebody wrote, and what was told of it."""

    op: str
    at: Span
    rows: int
    end: str

    def must_be_in(self, lineage: Lineage, now: Span) -> bool:
        """Whether it was confirmed in the middle of what the lineage keeps."""
        return self.end == CONFIRMED and any(
            one.since.ended <= self.at.begun and self.at.ended <= (one.until or now).begun for one in lineage
        )

    def may_be_in(self, lineage: Lineage, now: Span) -> bool:
        """Whether some moment of it is in what the lineage keeps."""
        ended = math.inf if self.end == UNKNOWN else self.at.ended
        return self.end != FAILED and any(
            one.since.begun <= ended and self.at.begun <= (one.until or now).ended for one in lineage
        )


@dataclass(frozen=True)
class Look:
    """The rows {op: number} that one statement found; `lineage` if it is known."""

    by: str
    at: Span
    found: dict[str, int]
    is_whole: bool = True
    lineage: Lineage | None = None


@dataclass
class Timeline:
    """One tenant's: what became of it, and who wrote what."""

    slug: str
    fates: list[tuple[Span, Lineage]] = field(default_factory=list)
    writes: dict[str, Write] = field(default_factory=dict)
    _sorted: list[Write] = field(default_factory=list)

    def close(self) -> None:
        """Take everything as known."""
        self.fates.sort(key=lambda fate: fate[0])
        for op, write in self.writes.items():
            # A restore takes the idempotency keys back, too: whoever lost an answer around it is told that
            # nothing was done, and the restore's undoing brings the rows.
            if write.end == FAILED and any(
                span.begun <= write.at.ended and write.at.begun <= span.ended for span, _ in self.fates
            ):
                self.writes[op] = replace(write, end=UNKNOWN)
        self._sorted = sorted(self.writes.values(), key=lambda write: write.at)

    def judge(self, look: Look) -> Iterator[str]:
        """Yield what is wrong with a look."""
        kept = [look.lineage] if look.lineage is not None else self._possible(look.at)
        where = f"{self.slug}, {look.by} at {look.at.begun:.3f}"
        for op, count in look.found.items():
            if (write := self.writes.get(op)) is None:
                yield f"{where}: nobody wrote {op}"
            elif not any(write.may_be_in(lineage, look.at) for lineage in kept):
                yield f"{where}: {op} ({write.end}, {write.at.begun:.3f}) is of another life or was undone"
            elif look.is_whole and count != write.rows:
                yield f"{where}: {count} rows of {op}, which has {write.rows}"
        if look.is_whole:
            for write in self._due(kept, look.at):
                if write.op not in look.found:
                    yield f"{where}: {write.op} was confirmed at {write.at.ended:.3f}, and is lost"

    def judge_pair(self, restored: Look, undone: Look) -> Iterator[str]:
        """Yield what is wrong with looks after a restore and after its undoing.

        A write that was confirmed around the restore is on one of its two sides.
        """
        at = bisect_right(self.fates, restored.at.begun, key=lambda fate: fate[0].ended) - 1
        (before, _), (restore, _) = self.fates[at - 1 : at + 1]
        begin = bisect_left(self._sorted, before.ended, key=lambda write: write.at.begun)
        end = bisect_right(self._sorted, restore.ended, begin, key=lambda write: write.at.begun)
        for write in self._sorted[begin:end]:
            if write.end == CONFIRMED and restore.begun <= write.at.ended <= restored.at.begun:
                sides = (write.op in restored.found) + (write.op in undone.found)
                if sides != 1:
                    yield f"{self.slug}: {write.op}, confirmed around a restore, is on {sides} of its sides"

    def _possible(self, at: Span) -> list[Lineage]:
        """Return the lineages that may have been the tenant's during a look."""
        possible: list[Lineage] = [()]
        for span, lineage in self.fates:
            if span.ended <= at.begun:
                possible = [lineage]
            elif span.begun <= at.ended:
                possible.append(lineage)
        return possible

    def _due(self, kept: Iterable[Lineage], now: Span) -> Iterator[Write]:
        """Yield the writes that each of the lineages must have."""
        first, *others = kept
        for stretch in first:
            start = bisect_left(self._sorted, stretch.since.ended, key=lambda write: write.at.begun)
            end = bisect_left(
                self._sorted, (stretch.until or now).begun, start, key=lambda write: write.at.begun
            )
            for write in self._sorted[start:end]:
                if write.must_be_in((stretch,), now) and all(
                    write.must_be_in(other, now) for other in others
                ):
                    yield write
