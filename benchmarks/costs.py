"""Counts the rows that operations read and write, by D1's own counters: `python -m benchmarks.costs`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from benchmarks import stage
from worker.local import LocalWorker


def counted(work: Callable[[], Any]) -> tuple[int, int, int]:
    """Run `work` on the REST alias; returns its requests, the rows read and the rows written."""
    answers: list[bytes] = []
    # The package exports a function of the module's name.
    rest = importlib.import_module("do_bridge.driver.rest")
    original = rest._read

    def note(response: httpx.Response, deadline: Any) -> bytes:
        answers.append(original(response, deadline))
        return answers[-1]

    with mock.patch.object(rest, "_read", note):
        work()
    metas = [result["meta"] for answer in answers for result in json.loads(answer)["result"]]
    read, written = (sum(meta[name] for meta in metas) for name in ("rows_read", "rows_written"))
    return len(answers), read, written


def operations(item: Any) -> dict[str, Callable[[], Any]]:
    """What is counted, on a table of 1,000 rows with an index beside its key."""
    rows = item.objects.using("rest")
    made = rows.bulk_create(stage.rows(item, 1000))
    new = stage.rows(item, 1001)
    return {
        "`get(pk=…)`": lambda: rows.get(pk=made[500].pk),
        "`filter(number=…)`, indexed": lambda: list(rows.filter(number=500)),
        "`filter(name=…)`, without an index": lambda: list(rows.filter(name="item number 500")),
        "a page: `order_by('pk')[:20]`": lambda: list(rows.order_by("pk")[:20]),
        "`count()` of 1,000": rows.count,
        "`create()`": lambda: new[0].save(using="rest", force_insert=True),
        "`update()` of one row, no indexed column": lambda: rows.filter(pk=made[1].pk).update(note="x"),
        "`update()` of one row, an indexed column": lambda: rows.filter(pk=made[2].pk).update(number=-1),
        "`delete()` of one row": made[3].delete,
        "`bulk_create(1000)`": lambda: rows.bulk_create(new[1:]),
    }


def main() -> None:
    """Print the table."""
    state = tempfile.TemporaryDirectory()
    with state as folder, LocalWorker(0, Path(folder) / "state", os.urandom(16).hex()) as worker:
        item = stage.set_up(worker, Path(folder))
        lines = ["| operation | requests | rows read | rows written |", "|---|---|---|---|"]
        for name, work in operations(item).items():
            lines.append("| " + " | ".join([name, *map(str, counted(work))]) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
