"""The report of a run, for people and for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .journal import CONFIRMED, UNKNOWN
from .judge import HALF, LOST
from .load_driver import ON_OBJECTS
from .run import Report


def totals(report: Report) -> Counter[str]:
    """Return how many operations had which outcome."""
    return sum(report.outcomes.values(), Counter())


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON takes it."""
    kinds = Counter(fault.kind for fault in report.faults)
    return {
        "seed": report.seed,
        "seconds": round(report.seconds, 1),
        "kill_points": sum(report.kills.values()),
        "kills": dict(report.kills),
        "outcomes": dict(totals(report)),
        "confirmed": {kind: outcomes[CONFIRMED] for kind, outcomes in report.outcomes.items()},
        "unknown_on_objects": sum(
            outcomes[UNKNOWN] for kind, outcomes in report.outcomes.items() if kind in ON_OBJECTS
        ),
        "lost": kinds[LOST],
        "half": kinds[HALF],
        "faults": [str(fault) for fault in report.faults],
        "planted": report.planted,
        "slow": report.slow,
        "looked_at": dict(report.checks),
        "spent": {step: round(seconds, 1) for step, seconds in report.spent.items()},
    }


def as_text(report: Report) -> str:
    """Return the report as lines of text."""
    facts = as_json(report)
    lines = [
        f"seed {report.seed}: {facts['kill_points']} kill points in {report.seconds:.0f} s",
        *(f"  {count:6} {kind}" for kind, count in sorted(report.kills.items())),
        "operations",
        *(f"  {count:6} {outcome}" for outcome, count in totals(report).most_common()),
        f"  {facts['unknown_on_objects']:6} of the unknown ones are single statements and blocks on objects",
        "by kind",
        *(
            f"  {kind}: " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
            for kind, outcomes in sorted(report.outcomes.items())
        ),
        "errors that clients were told, the most frequent",
        *(f"  {count:6} {text}" for text, count in report.errors.most_common(15)),
        f"looked at: {', '.join(f'{count} {what}' for what, count in report.checks.items())}",
        "seconds: " + ", ".join(f"{seconds:.0f} {step}" for step, seconds in report.spent.items()),
        *(f"took long: {text}" for text in report.slow),
        *(f"planted: {name}: {'found' if found else 'NOT FOUND'}" for name, found in report.planted.items()),
        f"lost {facts['lost']}, half {facts['half']}, faults in all {len(report.faults)}",
        *(f"  FAULT {fault}" for fault in report.faults[:50]),
    ]
    return "\n".join(lines) + "\n"
