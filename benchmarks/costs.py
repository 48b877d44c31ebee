"""Counts rows read and written by operation, by the runtime's own counters: `python -m benchmarks.costs`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import prices as prices_of
from benchmarks import stage
from benchmarks.measuring import write_result
from do_bridge.driver.calls import Call
from do_bridge.relay import LocalRelay, bundle

# By operation: requests, rows read, rows written.
Counts = dict[str, tuple[int, int, int]]
# Over REST D1 tells the rows of every statement.
ALIASES = ("object", "rest")


def counted(alias: str, work: Callable[[], Any]) -> tuple[int, int, int]:
    """Run `work` on the alias; returns its requests, the rows read and the rows written."""
    from django.db import connections

    connections[alias].ensure_connection()
    connection = connections[alias].connection
    calls: list[Call] = []
    connection.on_call, connection.metered = calls.append, lambda: True
    try:
        work()
    finally:
        connection.on_call, connection.metered = None, lambda: False
    # A commit or a rollback has no statement, and no figures of its own.
    return (
        len(calls),
        sum(call.rows_read or 0 for call in calls),
        sum(call.rows_written or 0 for call in calls),
    )


def operations(item: Any, alias: str) -> dict[str, Callable[[], Any]]:
    """What is counted, on a table of 1,000 rows with an index beside its key."""
    rows = item.objects.using(alias)
    made = rows.bulk_create(stage.rows(item, 1000))
    new = stage.rows(item, 1001)
    return {
        "`get(pk=…)`": lambda: rows.get(pk=made[500].pk),
        "`filter(number=…)`, indexed, one row found": lambda: list(rows.filter(number=500)),
        "`filter(name=…)`, without an index": lambda: list(rows.filter(name="item number 500")),
        "a page: `order_by('pk')[:20]`": lambda: list(rows.order_by("pk")[:20]),
        "`filter(pk__in=…)` of 100": lambda: list(rows.filter(pk__in=[one.pk for one in made[:100]])),
        "`exists()`": rows.exists,
        "`count()` of 1,000": rows.count,
        "`create()`": lambda: new[0].save(using=alias, force_insert=True),
        "`save()` of an existing object": made[4].save,
        "`update()` of one row, no indexed column": lambda: rows.filter(pk=made[1].pk).update(note="x"),
        "`update()` of one row, an indexed column": lambda: rows.filter(pk=made[2].pk).update(number=-1),
        "`delete()` of one row": made[3].delete,
        "`bulk_create(1000)`": lambda: rows.bulk_create(new[1:]),
    }


def operations_table(on_object: Counts, on_d1: Counts) -> str:
    """The counts as Markdown, with what a million of each operation costs beyond what the plan includes."""
    lines = [
        "| operation | trips | rows read | rows written | a million on an object | on D1 |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in on_object.items():
        other = on_d1[name]
        pairs = (
            str(one) if one == two else f"{one}, D1 {two}" for one, two in zip(figures, other, strict=True)
        )
        prices = (f"{dollars:,.2f} $" for dollars in (prices_of.on_object(*figures), prices_of.on_d1(*other)))
        lines.append("| " + " | ".join([name, *pairs, *prices]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Write and print the tables."""
    state = tempfile.TemporaryDirectory()
    with (
        state as folder,
        LocalRelay(Path(folder) / "state", source=bundle.SOURCE) as worker,
    ):
        item = stage.set_up(worker, Path(folder))
        on_object, on_d1 = (
            {name: counted(alias, work) for name, work in operations(item, alias).items()}
            for alias in ALIASES
        )
    tables = {
        "costs.md": operations_table(on_object, on_d1),
        "sites.md": prices_of.sites_table(),
        "prices.md": prices_of.prices_table(),
    }
    for name, text in tables.items():
        write_result(name, text)
        sys.stdout.write(text + "\n\n")


if __name__ == "__main__":
    main()
