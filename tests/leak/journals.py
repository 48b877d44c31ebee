"""Journals of what was done in tenants that have several lives, and their comparison with what was found."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.leak.marks import check
from tests.leak.timeline import Lineage, Look, Span, Timeline, Write, read
from tests.torture.journal import CONFIRMED
from tests.torture.outcomes import outcome

# Looks of who decides, the one after the other.
RESTORED, UNDONE = "after a restore", "after its undoing"
_OP = re.compile(r"\S+\.")


class Journal:
    """The lines of one thread: writes, looks and fates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file = (folder / f"{name}.jsonl").open("a")

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    @contextlib.contextmanager
    def writing(self, slug: str, op: str, rows: int) -> Iterator[None]:
        """Note a write, and what its block was told of it."""
        begun, end = time.monotonic(), CONFIRMED
        try:
            yield
        except Exception as error:
            end = outcome(error)
            raise
        finally:
            self._note(slug, "write", begun, op=op, rows=rows, end=end)

    @contextlib.contextmanager
    def looking(
        self, slug: str, by: str, *, is_whole: bool = True, lineage: Lineage | None = None
    ) -> Iterator[list[str]]:
        """Note what the block has found, titles in the list that it gets; all must be the tenant's."""
        begun, titles = time.monotonic(), list[str]()
        yield titles
        check(slug, *titles)
        found = Counter(_OP.search(title.split(" ", 1)[1])[0] for title in titles)  # type: ignore[index]
        self._note(slug, "look", begun, by=by, found=found, is_whole=is_whole, lineage=lineage)

    def fate(self, slug: str, at: Span, lineage: Lineage) -> None:
        """Note what became of a tenant."""
        self._note(slug, "fate", at.begun, at.ended, lineage=lineage)

    def refused(self, slug: str, at: Span) -> None:
        """Note a restore that changed nothing, for whoever reads the journal."""
        self._note(slug, "refused", at.begun, at.ended)

    def _note(self, slug: str, kind: str, begun: float, ended: float | None = None, **more: Any) -> None:
        at = begun, time.monotonic() if ended is None else ended
        self._file.write(json.dumps({"slug": slug, "kind": kind, "at": at, **more}) + "\n")


def judge(folder: Path, slugs: Iterable[str]) -> tuple[int, list[str]]:
    """Return how many looks were compared with all writes and fates, and what is wrong."""
    timelines = {slug: Timeline(slug) for slug in slugs}
    for line in _lines(folder):
        timeline, at = timelines[line["slug"]], Span(*line["at"])
        if line["kind"] == "write":
            timeline.writes[line["op"]] = Write(line["op"], at, line["rows"], line["end"])
        elif line["kind"] == "fate":
            timeline.fates.append((at, read(line["lineage"])))
    for timeline in timelines.values():
        timeline.close()
    looks, wrong = 0, []
    last: dict[str, Look] = {}
    for line in _lines(folder):
        if line["kind"] == "look":
            looks += 1
            lineage = None if line["lineage"] is None else read(line["lineage"])
            look = Look(line["by"], Span(*line["at"]), line["found"], line["is_whole"], lineage)
            timeline = timelines[line["slug"]]
            wrong += [(look.at, fault) for fault in timeline.judge(look)]
            # Both are of one thread, so they follow each other in its journal.
            if look.by == UNDONE:
                wrong += [(look.at, fault) for fault in timeline.judge_pair(last[line["slug"]], look)]
            elif look.by == RESTORED:
                last[line["slug"]] = look
    return looks, [fault for _, fault in sorted(wrong)]


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as file:
            yield from map(json.loads, file)
