"""What a run of Django's tests lost against stock sqlite3, and which of it is known with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import django

HERE = Path(__file__).resolve().parent
# Each series of Django has tests, and losses, of its own.
SERIES = ".".join(map(str, django.VERSION[:2]))
BASELINE = HERE / f"baseline-{SERIES}.json"
EXPECTED = HERE / f"expected-{SERIES}.json"


class Score(NamedTuple):
    """Tests that stock sqlite3 passes, and those of them that pass here."""

    kept: int
    of: int

    def __str__(self) -> str:
        return f"{self.kept} of {self.of} = {self.kept / self.of:.2%}" if self.of else "0 of 0"


def stock_passes() -> set[str]:
    """The names of all tests that stock sqlite3 passes."""
    return set(json.loads(BASELINE.read_text())["pass"])


def keep_baseline(out: Path) -> int:
    """Write what a run on stock sqlite3 passed as the baseline of this series; return how many tests."""
    passed = sorted(test for label in labels_of(out).values() for test in label["passed"])
    BASELINE.write_text(json.dumps({"django": django.get_version(), "pass": passed}, indent=0) + "\n")
    return len(passed)


def labels_of(out: Path) -> dict[str, Any]:
    """What run_suite.py wrote about each label into the folder `out`."""
    labels: dict[str, Any] = json.loads((out / "summary.json").read_text())["labels"]
    return labels


def expected_losses(engine: str) -> dict[str, str]:
    """Test -> reason, for the losses that are known."""
    reasons = json.loads(EXPECTED.read_text())[engine]
    return {test: reason for reason, tests in reasons.items() for test in tests}


def label_scores(labels: dict[str, Any], stock: set[str]) -> dict[str, Score]:
    """Label -> Score."""
    scores = {}
    for label, result in labels.items():
        wanted = {test for test in stock if test.startswith(f"{label}.")}
        scores[label] = Score(len(wanted & set(result["passed"])), len(wanted))
    return scores


def losses(labels: dict[str, Any], stock: set[str]) -> Iterator[tuple[str, str]]:
    """Yields each lost test with what became of it, in one line."""
    for label, result in labels.items():
        passed = set(result["passed"])
        for test in sorted(test for test in stock if test.startswith(f"{label}.") and test not in passed):
            yield test, _fate(result, test)


def _fate(result: dict[str, Any], test: str) -> str:
    if test in result["skipped"]:
        return str(result["skipped"][test][1])
    details = result["errored"].get(test) or result["failed"].get(test) or result["xfail"].get(test)
    if details is None:
        return f"did not run ({result['status']})"
    first = (details.get("msg") or "").strip().splitlines()[:1]
    return f"{details.get('exc')}: {''.join(first)[:200]}"


def unexpected(engine: str, out: Path) -> list[str]:
    """One line for each lost test that expected-<series>.json does not have, with what became of it."""
    known = expected_losses(engine)
    found = losses(labels_of(out), stock_passes())
    return [f"{test}: {fate}" for test, fate in found if test not in known]
