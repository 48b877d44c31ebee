"""The report of a run, as text for a terminal and as JSON for a machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from .probe import Result, Status
from .runner import Report
from .site import Site

_ORDER: Final = (Status.FAILED, Status.LOCAL_ONLY, Status.SKIPPED, Status.OK)


def as_json(site: Site, report: Report, version: str) -> str:
    """Return the whole run as one JSON object; ``version`` is the package's."""
    document = {
        "ok": report.ok,
        "complete": report.complete,
        "seconds": round(report.seconds, 3),
        "local": site.is_local,
        "versions": _versions(site, report, version),
        "subjects": {kind: subject.name for kind, subject in site.everything()},
        "notes": [site.scrub(note) for note in site.notes],
        "counts": {status.value: len(report.of(status)) for status in _ORDER},
        "measured": _measured(report),
        "probes": [_entry(result) for result in report.results],
        "left": report.left,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(site: Site, report: Report, version: str) -> Iterator[tuple[Status | None, str]]:
    """Yield the report's lines, each with its status."""
    yield None, _heading(site)
    for note in site.notes:
        yield Status.SKIPPED, site.scrub(note)
    for group, found in groupby(report.results, lambda result: result.probe.group):
        yield None, f"\n{group}"
        for _, results in groupby(found, lambda result: result.probe.name):
            yield from _lines(list(results))
    yield None, "\nMeasured values"
    for name, values in _measured(report).items():
        yield None, f"  {name}: " + ", ".join(f"{kind} {_number(value)}" for kind, value in values.items())
    for name, release in _versions(site, report, version).items():
        yield None, f"  {name}: {release or 'unknown'}"
    for sentence in report.left:
        yield Status.FAILED, sentence
    yield None, ""
    yield (Status.OK if report.ok else Status.FAILED), summary(report)


def summary(report: Report) -> str:
    """Return one line about the whole run."""
    counts = ", ".join(f"{len(report.of(status))} {status}" for status in reversed(_ORDER))
    end = "" if report.complete else " The run ended before its last probe."
    return f"{len(report.results)} answers in {report.seconds:.1f} s: {counts}.{end}"


def _versions(site: Site, report: Report, version: str) -> dict[str, str]:
    """Return the versions that a report of a problem needs."""
    releases = {str(result.measured["SQLite"]) for result in report.results if "SQLite" in result.measured}
    return {
        "do_bridge": version,
        "Python": platform.python_version(),
        "relay's Worker": site.version,
        "SQLite": " / ".join(sorted(releases)),
    }


def _heading(site: Site) -> str:
    names = ", ".join(f"{kind} {subject.name}" for kind, subject in site.everything())
    where = "the local runtime" if site.is_local else "production"
    return f"Examining {where}: {names}"


def _lines(results: list[Result]) -> Iterator[tuple[Status, str]]:
    """Yield a line for each status, with the databases that share it.

    More lines follow a failure, with what to do.
    """
    for status in _ORDER:
        same = [result for result in results if result.status is status]
        if not same:
            continue
        where = ", ".join(result.on for result in same)
        yield status, f"  {status:<10} {same[0].probe.name:<24} {where}"
        for message, found in groupby(same, lambda result: result.message):
            if message:
                yield status, f"             {', '.join(result.on for result in found)}: {message}"
        if status is Status.FAILED:
            yield status, f" Relied on: {same[0].probe.fact} {same[0].probe.why}"
            yield status, f" What to do: {same[0].probe.fix}"


def _measured(report: Report) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {}
    for result in report.results:
        for name, value in result.measured.items():
            if name != "SQLite":
                values.setdefault(name, {})[result.on] = value
    return values


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _entry(result: Result) -> dict[str, Any]:
    probe = result.probe
    entry: dict[str, Any] = {
        "name": probe.name,
        "group": probe.group,
        "on": result.on,
        "status": result.status.value,
        "seconds": round(result.seconds, 4),
    }
    if result.message:
        entry["message"] = result.message
    if result.measured:
        entry["measured"] = result.measured
    if result.status is Status.FAILED:
        entry |= {"fact": probe.fact, "why": probe.why, "fix": probe.fix}
    return entry
