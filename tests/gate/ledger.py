"""Remembers every marked statement that a fuzzer sent, and tells afterwards which rows must not be there."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

MARK_TABLE = "CREATE TABLE IF NOT EXISTS mark (marker TEXT)"
_MARKER = re.compile(r"m[0-9a-f]{8}-[0-9a-f]{8}")


@dataclass
class Sent:
    """Where a marker may be found (None: nowhere), and how often it must be: None where nobody knows."""

    database: str | None
    count: int | None = None


@dataclass
class Ledger:
    """Markers of one run; each is valid only as it was made, so that a mutated one counts for nothing."""

    seed: int
    sent: dict[str, Sent] = field(default_factory=dict)
    made: int = 0

    def marker(self) -> str:
        """A new marker, not yet sent."""
        self.made += 1
        return f"m{self.made:08x}-{self._check(self.made):08x}"

    def statement(self) -> tuple[str, dict[str, Any]]:
        """A new marker and the step that writes it."""
        marker = self.marker()
        return marker, {"sql": "INSERT INTO mark VALUES (?1)", "params": [marker]}

    def note(self, text: str, database: str | None) -> list[str]:
        """Take note of what is about to be sent, and of the one database that it may write to."""
        markers = [marker for marker in set(_MARKER.findall(text)) if self._is_valid(marker)]
        for marker in markers:
            self.sent[marker] = Sent(database)
        return markers

    def expect(self, markers: list[str], count: int) -> None:
        """Say how often these markers must be there in the end."""
        for marker in markers:
            self.sent[marker].count = count

    def violations(self, found: dict[str, Counter[str]]) -> list[str]:
        """What is wrong with the markers found, by database."""
        wrong = []
        total: Counter[str] = Counter()
        for database, markers in found.items():
            total += markers
            for marker in filter(self._is_valid, markers):
                sent = self.sent.get(marker)
                if sent is None or sent.database != database:
                    meant = sent.database if sent else "nothing that was sent"
                    wrong.append(f"{marker} is in {database} and was meant for {meant}")
        for marker, sent in self.sent.items():
            if sent.count is not None and total[marker] != sent.count:
                wrong.append(f"{marker} ({sent.database}): {total[marker]} rows instead of {sent.count}")
        return wrong

    def _check(self, number: int) -> int:
        return zlib.crc32(f"{self.seed}:{number}".encode())

    def _is_valid(self, marker: str) -> bool:
        number = int(marker[1:9], 16) if _MARKER.fullmatch(marker) else 0
        return 0 < number <= self.made and marker.endswith(f"{self._check(number):08x}")


def read_marks(transport: RelayTransport, databases: list[str]) -> dict[str, Counter[str]]:
    """The markers that are in each database now."""
    found = {}
    for database in databases:
        with driver.connect(transport, database) as connection:
            rows = connection.execute("SELECT marker FROM mark").fetchall()
        found[database] = Counter(str(marker) for (marker,) in rows)
    return found


def target_of(text: str) -> str | None:
    """The database that a frame names, as any JSON reader would take it; None where it names none."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    database = frame.get("db") if isinstance(frame, dict) else None
    return database if isinstance(database, str) else None
