"""What differs between two records of one application: pages, answers, rows."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = 12  # lines of a difference
# Each is drawn anew for every answer.
MASKS = [
    (r"""(csrf_?(?:middleware)?token["']?(?: type="hidden")?(?:(?: value)?=|: ?))["'][^"']*["']""", r"\1*"),
    (r"""(nonce=)["'][^"']*["']""", r"\1*"),
]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as on sqlite3: what it is about, and what shows it."""

    engine: str
    subject: str
    shown: str

    def __str__(self) -> str:
        return f"{self.engine}: {self.subject}\n" + "".join(
            f"    {line}\n" for line in self.shown.splitlines()
        )


@dataclass(frozen=True)
class Known:
    """A difference that is expected: the engine, a pattern of the whole subject, and the reason."""

    engine: str
    subject: str
    reason: str

    def covers(self, difference: Difference) -> bool:
        """Whether this explains the difference."""
        return self.engine == difference.engine and bool(re.fullmatch(self.subject, difference.subject))


def plain(text: str, masks: list[tuple[str, str]]) -> str:
    """A page's text without what is drawn anew for each answer."""
    for pattern, instead in [*MASKS, *masks]:
        text = re.sub(pattern, instead, text, flags=re.IGNORECASE)
    return text


def differences(engine: str, reference: Path, other: Path) -> list[Difference]:
    """What the record in the folder `other` has otherwise than the one in `reference`."""
    first, second = (json.loads((folder / "record.json").read_text()) for folder in (reference, other))
    found = [*pages(first["pages"], second["pages"], first["masks"])]
    found += values("answer", first["answers"], second["answers"])
    found += values(
        "rows of", *(rows(folder / "rows.json", first["hidden"]) for folder in (reference, other))
    )
    return [Difference(engine, subject, shown) for subject, shown in found]


def size(reference: Path) -> str:
    """How much was compared."""
    record = json.loads((reference / "record.json").read_text())
    kept = len(json.loads((reference / "rows.json").read_text()))
    return f"{len(record['pages'])} answers to requests, {len(record['answers'])} of the library, {kept} rows"


def faults(reference: Path) -> list[str]:
    """Why the run on sqlite3 cannot be a measure: too few pages, or pages that break there as well."""
    record = json.loads((reference / "record.json").read_text())
    good = [page for page in record["pages"] if page["status"] == 200]
    found = [] if len(good) >= record["at_least"] else [f"{len(good)} pages of at least {record['at_least']}"]
    for page in record["pages"]:
        name = f"{page['who']} {page['url']}"
        if page["status"] >= 500 and not re.fullmatch(record["broken"], name):
            found.append(f"{name}: {page['status']} {page['error']}")
    return found


def pages(first: list[dict], second: list[dict], masks: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pages that differ, each by the first of its parts that does."""
    by_address = [{(page["who"], page["url"]): page for page in pages} for pages in (first, second)]
    for key in sorted(by_address[0].keys() | by_address[1].keys()):
        here, there = (found.get(key) for found in by_address)
        name = f"{key[0]} {key[1]}"
        if here is None or there is None:
            yield f"{name} reached", "only on sqlite3" if there is None else "not on sqlite3"
            continue
        for part in ("status", "location", "body"):
            before, after = (plain(str(page[part]), masks) for page in (here, there))
            if before != after:
                yield f"{name} {part}", diff(before, after) + there["error"]
                break


def values(kind: str, first: dict[str, Any], second: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The named values that differ."""
    for name in sorted(first.keys() | second.keys()):
        before, after = (
            json.dumps(found.get(name), indent=1, ensure_ascii=False) for found in (first, second)
        )
        if before != after:
            yield f"{kind} {name}", diff(before, after)


def rows(file: Path, hidden: dict[str, list[str]]) -> dict[str, list[Any]]:
    """The rows of a dump by model and key; a hidden field says only whether it is set.

    dumpdata orders by what the model orders by, and leaves the order of equals to the database.
    """
    found: dict[str, list[Any]] = {}
    for row in sorted(json.loads(file.read_text()), key=lambda row: str(row["pk"])):
        for name in hidden.get(row["model"], []):
            row["fields"][name] = row["fields"][name] is not None
        found.setdefault(row["model"], []).append(row)
    return found


def diff(before: str, after: str) -> str:
    """The first lines that differ, each from where it does."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    shown = []
    for kind, first, last, other_first, other_last in matcher.get_opcodes():
        if kind != "equal":
            here, there = matcher.a[first:last], matcher.b[other_first:other_last]
            shown += [line for pair in itertools.zip_longest(here, there) for line in _pair(*pair)]
    rest = len(shown) - SHOWN
    return "\n".join(shown[:SHOWN] + ([f"… and {rest} lines more"] if rest > 0 else [])) + "\n"


def _pair(before: str | None, after: str | None) -> list[str]:
    """Two lines from a little before the place where they part."""
    start = max(len(os.path.commonprefix([before or "", after or ""])) - 60, 0)
    lines = [("sqlite3", before), ("here   ", after)]
    return [f"{side} {line[start : start + 240].strip()}" for side, line in lines if line is not None]


def judge(found: list[Difference], known: list[Known]) -> tuple[list[Difference], list[Known]]:
    """The differences that nothing explains, and the explanations that nothing needs any more."""
    unexplained = [item for item in found if not any(entry.covers(item) for entry in known)]
    unneeded = [entry for entry in known if not any(entry.covers(item) for item in found)]
    return unexplained, unneeded
