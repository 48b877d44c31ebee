"""The soak's report in Markdown, and what makes it fail."""

from __future__ import annotations

import statistics
from collections import Counter

from tests.soak.book import Book, Fault, Request, errors_of, percentile
from tests.soak.watch import WRANGLERS_OWN, Series

PERCENTILES = (0.5, 0.9, 0.99, 1.0)


def failures(book: Book, series: list[Series], warm_up: float) -> list[str]:
    """Return why the run has failed, a line for each reason."""
    reasons = [
        f"{count} × {what}, and no fault explains it" for what, count in errors_of(book.unexpected()).items()
    ]
    reasons += [f"a leak: {text}" for text in book.leaks[:20]]
    reasons += [f"a stall: {text.splitlines()[0]}" for text in book.stalls]
    reasons += [f"a part of the soak broke: {text}" for text in book.broken]
    reasons += [f"no recovery after {fault.kind}" for fault in book.faults if fault.recovered is None]
    reasons += [
        f"{one.name} {one.pid} grows by {one.slope(warm_up):.1f} MB a minute"
        for one in series
        if one.is_growing(warm_up)
    ]
    return reasons


def report(
    title: str, book: Book, series: list[Series], tables: dict[str, tuple[int, int]], warm_up: float
) -> str:
    """Return the whole report."""
    reasons = failures(book, series, warm_up)
    quiet, disturbed = book.split()
    sections = [
        f"# Soak: {'FAILED' if reasons else 'passed'}",
        title,
        *(["## Why it failed", "\n".join(f"- {reason}" for reason in reasons)] if reasons else []),
        "## Requests",
        _requests(quiet, disturbed),
        "## Errors while a fault was on",
        _counts(errors_of(disturbed), "error"),
        "## Errors otherwise",
        _counts(errors_of(quiet), "error"),
        "## Latency, by who asks",
        _latency(quiet, disturbed),
        "## Faults and recovery",
        _faults(book.faults),
        "## Processes",
        _processes(series, warm_up),
        "## Rows of bookkeeping",
        "\n".join(_table("table | before | after", [(name, *rows) for name, rows in sorted(tables.items())])),
        "## Stalls",
        "\n\n".join(f"```\n{text}\n```" for text in book.stalls) or "None.",
        "## Memory over time, MB",
        _memory(series),
    ]
    return "\n\n".join(sections) + "\n"


def _table(head: str, rows: list[tuple[object, ...]]) -> list[str]:
    columns = head.count("|") + 1
    return [f"| {head} |", "|---" * columns + "|", *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def _counts(counts: Counter[str], what: str) -> str:
    return "\n".join(_table(f"{what} | times", counts.most_common())) if counts else "None."


def _requests(quiet: list[Request], disturbed: list[Request]) -> str:
    rows = [
        (name, len(part), sum(one.outcome != "ok" for one in part))
        for name, part in (("out of faults", quiet), ("in faults", disturbed))
    ]
    return "\n".join(_table("when | requests | of which failed", rows))


def _latency(quiet: list[Request], disturbed: list[Request]) -> str:
    rows: list[tuple[object, ...]] = []
    for kind in sorted({request.kind for request in quiet + disturbed}):
        for name, part in (("out of faults", quiet), ("in faults", disturbed)):
            own = [one for one in part if one.kind == kind and one.outcome == "ok"]
            if own:
                rows.append((kind, name, len(own), *(f"{percentile(own, p):.0f}" for p in PERCENTILES)))
    return "\n".join(_table("request | when | number | p50, ms | p90 | p99 | longest", rows))


def _faults(faults: list[Fault]) -> str:
    rows: list[tuple[object, ...]] = []
    for kind in sorted({fault.kind for fault in faults}):
        own = [fault for fault in faults if fault.kind == kind]
        times = [fault.recovered for fault in own if fault.recovered is not None]
        middle = f"{statistics.median(times):.2f}" if times else "never"
        rows.append((kind, len(own), len(times), middle, f"{max(times):.2f}" if times else "never"))
    return "\n".join(_table("fault | times | recovered | after, median s | at most", rows))


def _processes(series: list[Series], warm_up: float) -> str:
    rows: list[tuple[object, ...]] = []
    for one in series:
        first, last = one.samples[0], one.samples[-1]
        slope = one.slope(warm_up)
        verdict = "GROWS" if one.is_growing(warm_up) else "steady"
        if one.name in WRANGLERS_OWN:
            verdict = "wrangler's own"
        elif slope is None:
            verdict = "too short a life"
        rows.append(
            (
                f"{one.name} {one.pid}",
                f"{last.moment - first.moment:.0f}",
                f"{first.memory:.0f} → {last.memory:.0f}, at most {max(s.memory for s in one.samples):.0f}",
                "" if slope is None else f"{slope:+.1f}",
                f"{first.files} → {last.files}, at most {max(s.files for s in one.samples)}",
                f"{last.sockets}, at most {max(s.sockets for s in one.samples)}",
                f"{last.threads}, at most {max(s.threads for s in one.samples)}",
                verdict,
            )
        )
    head = "process | seconds | memory, MB | MB a minute, warm | open files | sockets | threads | memory is"
    return "\n".join(_table(head, rows))


def _memory(series: list[Series]) -> str:
    rows = []
    for one in series:
        step = max(len(one.samples) // 12, 1)
        rows.append((f"{one.name} {one.pid}", " ".join(f"{s.memory:.0f}" for s in one.samples[::step])))
    return "\n".join(_table("process | from its beginning to its end", rows))
