"""What a client began and what it was told of the outcome, on disk before anything else happens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

CONFIRMED, FAILED, UNKNOWN, WRONG = "confirmed", "failed", "unknown", "wrong"


class Journal:
    """Appends one line for the begin and one for the end of each operation, each of them synced."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def begin(self, op: str, kind: str, book: str = "", rows: int = 0, slugs: tuple[str, ...] = ()) -> None:
        """Note that `op` is about to write `rows` rows into `book`, or to work on the tenants `slugs`."""
        self._write({"op": op, "kind": kind, "book": book, "rows": rows, "slugs": slugs})

    def end(self, op: str, outcome: str, seconds: float, error: str = "") -> None:
        """Note what the caller was told: confirmed, failed (nothing was done), unknown, or wrong."""
        self._write({"op": op, "end": outcome, "seconds": round(seconds, 3), "error": error[:500]})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._file)


@dataclass
class Operation:
    """One operation as its client saw it; `end` is empty for one that was cut off with its client."""

    op: str
    kind: str
    book: str = ""
    rows: int = 0
    slugs: tuple[str, ...] = ()
    end: str = ""
    seconds: float = 0.0
    error: str = ""


@dataclass
class Journals:
    """The journals of a folder, read again and again while they grow."""

    folder: Path
    pattern: str = "*.journal"
    operations: dict[str, Operation] = field(default_factory=dict)
    by_book: dict[tuple[str, str], list[Operation]] = field(default_factory=dict)
    #: Tenants that any operation was begun on, and the operations that left something wrong.
    slugs: set[str] = field(default_factory=set)
    wrong: list[Operation] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)

    def read(self) -> dict[str, Operation]:
        """Return {op: Operation} of every whole line so far."""
        for path in sorted(self.folder.glob(self.pattern)):
            done = self._read.get(path, 0)
            # Most are of clients that are gone.
            if path.stat().st_size == done:
                continue
            with path.open("rb") as file:
                file.seek(done)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = done + len(whole)
            for line in whole.splitlines():
                self._take(json.loads(line))
        return self.operations

    def _take(self, line: dict[str, object]) -> None:
        if "end" in line:
            operation = self.operations[str(line["op"])]
            operation.end, operation.error = str(line["end"]), str(line["error"])
            operation.seconds = float(str(line["seconds"]))
            if operation.end == WRONG:
                self.wrong.append(operation)
        else:
            made = Operation(**{**line, "slugs": tuple(line["slugs"])})  # type: ignore[arg-type]
            self.add(made)

    def add(self, operation: Operation) -> None:
        """Take an operation in; its name begins with its era."""
        self.operations[operation.op] = operation
        era, _, _ = operation.op.partition("-")
        self.by_book.setdefault((operation.book, era), []).append(operation)
        self.slugs.update(operation.slugs)
