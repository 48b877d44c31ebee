"""Writes expected.json and docs/reference/django-suite.md from a full run of each engine."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "reference" / "django-suite.md"
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import results  # noqa: E402
import sdist  # noqa: E402

ENGINES = {"durable_object": "Durable Object", "d1": "D1", "d1_optimistic": "D1, optimistic"}
FEATURES = re.compile(r"Database (doesn't support|has) (any of the )?feature\(s\): (?P<names>.*)")
# What a feature flag that is off means for people.
FLAGS = {
    "supports_transactions": "D1 has no interactive transactions.",
    "uses_savepoints": "D1 has no interactive transactions.",
    "can_release_savepoints": "D1 has no interactive transactions.",
    "can_rollback_ddl": "D1 has no interactive transactions.",
    "can_defer_constraint_checks": "Foreign keys are checked when a statement ends, because a violation at "
    "the end of a transaction would reset the object, or be an internal error on D1.",
    "max_query_params": "All parameters travel as one JSON text, so their number has no limit.",
    "supports_aggregate_order_by_clause": "The runtime's SQLite can do what sqlite3's cannot.",
    "supports_regex_backreferencing": "The runtime's SQLite has no regular expressions, and functions "
    "cannot be added to it.",
}
# An empty reason is no reason: the flag is on.
OPTIMISTIC_FLAGS = {
    "can_rollback_ddl": "A migration is a batch, or several, and no part of a block.",
    "can_defer_constraint_checks": "",
}
INTRODUCTION = """# Django's own test suite

Django's own tests measure a database engine.
The score counts the tests that pass here, of those that pass on stock sqlite3.
A test that a feature flag or a list turns off counts as lost.
The labels are in [`tests/django_suite/labels.txt`](../../tests/django_suite/labels.txt).

| Django | engine | score | lost |
|---|---|---|---|
{scores}

    make django-suite ENGINE=durable_object
    make django-suite ENGINE=d1 DJANGO=6.1 PYTHON=python3.13
    make django-suite ENGINE=d1_optimistic
    make django-suite ENGINE=d1 LABELS="lookup queries"

The command downloads Django's sdist, starts a local Worker and ends with the table.
`tests/django_suite/expected-<series>.json` has each lost test with its reason.
The command fails if another test is lost.
`make django-suite ENGINE=stock DJANGO=6.1` writes what passes on stock sqlite3, `baseline-<series>.json`.
A few labels of each engine run in `make test`.
`d1` is the engine with `OPTIONS["transactions"] = "none"`.
`d1_optimistic` is the engine with [`"optimistic"`](../explanation/transactions.md).
`tests/django_suite/report.py`, with the Python of the series, writes its losses and this page.
"""


def series_files() -> list[Path]:
    """The files of known losses, the oldest series first."""
    return sorted(HERE.glob("expected-*.json"), key=lambda file: file.stem)


def reason_for(engine: str, fate: str) -> str | None:
    """The reason why a test was skipped, or None where it was not skipped."""
    match = FEATURES.match(fate)
    if not match:
        return None if re.match(r"[\w.]+: ", fate) else fate
    flags = match["names"].split(", ")
    reasons = FLAGS | OPTIMISTIC_FLAGS if engine == "d1_optimistic" else FLAGS
    return next((reasons[flag] for flag in flags if reasons.get(flag)), None)


def reasons(engine: str, labels: dict[str, Any], stock: set[str]) -> dict[str, list[str]]:
    """Reason -> lost tests; exits where a test has none."""
    known = {}
    for file in series_files():
        kept = json.loads(file.read_text())
        # What the runtime cannot do, it can in neither mode.
        for name in ("d1", engine):
            known |= {test: why for why, tests in kept.get(name, {}).items() for test in tests}
    found, unknown = defaultdict(list), []
    for test, fate in results.losses(labels, stock):
        reason = reason_for(engine, fate) or known.get(test)
        if reason is None:
            unknown.append(f"{test}: {fate}")
        else:
            found[reason].append(test)
    if unknown:
        sys.exit(f"{engine}: no reason for\n  " + "\n  ".join(unknown))
    return dict(sorted(found.items()))


def total(scores: dict[str, results.Score]) -> results.Score:
    """The Score of all labels together."""
    return results.Score(sum(score.kept for score in scores.values()), sum(s.of for s in scores.values()))


def table(scores: dict[str, dict[str, results.Score]]) -> str:
    """The table by label."""
    lines = [f"| label | sqlite3 | {' | '.join(ENGINES.values())} |", "|---" * (2 + len(ENGINES)) + "|"]
    for label, stock in scores["d1"].items():
        cells = (str(scores[engine][label].kept) for engine in ENGINES)
        lines.append(f"| {label} | {stock.of} | {' | '.join(cells)} |")
    cells = (str(total(scores[engine]).kept) for engine in ENGINES)
    lines.append(f"| **all** | {total(scores['d1']).of} | {' | '.join(cells)} |")
    return "\n".join(lines)


def lost(engine: str, by_reason: dict[str, list[str]]) -> str:
    """The lost tests of an engine under their reasons, the most frequent first."""
    parts = [f"## Lost on {ENGINES[engine]}"]
    for reason, tests in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        parts.append(f"### {reason} ({len(tests)})\n\n" + "\n".join(f"- `{test}`" for test in tests))
    return "\n\n".join(parts)


def keep(folders: dict[str, Path]) -> None:
    """Write the losses and scores of full runs of this series into its expected-….json; others stay."""
    stock = results.stock_passes()
    kept = json.loads(results.EXPECTED.read_text())
    kept["django"] = sdist.version()
    for engine, folder in folders.items():
        labels = results.labels_of(folder)
        kept["scores"][engine] = results.label_scores(labels, stock)
        kept[engine] = reasons(engine, labels, stock)
    results.EXPECTED.write_text(json.dumps(kept, indent=1) + "\n")


def page() -> str:
    """The page about all series that have losses on record; the tests by name are the newest's."""
    found = [json.loads(file.read_text()) for file in series_files()]
    # One without a full run knows losses alone.
    found = [series for series in found if series["scores"]]
    lines = []
    for series in found:
        for engine, scores in read_scores(series).items():
            name, score = ENGINES[engine], total(scores)
            share = f"**{score.kept / score.of:.2%}** ({score.kept} of {score.of})"
            lines.append(f"| {series['django']} | {name} | {share} | {score.of - score.kept} |")
    newest = found[-1]
    parts = [INTRODUCTION.format(scores="\n".join(lines)), f"## By label, on Django {newest['django']}\n"]
    parts += [
        "Tests that stock sqlite3 passes, and how many of them pass here.\n",
        table(read_scores(newest)),
    ]
    return "\n".join([*parts, "", *(lost(engine, newest[engine]) + "\n" for engine in ENGINES)])


def read_scores(series: dict[str, Any]) -> dict[str, dict[str, results.Score]]:
    """The scores by engine and label."""
    return {
        engine: {label: results.Score(*pair) for label, pair in labels.items()}
        for engine, labels in series["scores"].items()
    }


def main() -> None:
    """Takes the folders of full runs; without them those that `make django-suite` wrote, where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    for engine in ENGINES:
        place = sdist.STATE / f"{engine}-{results.SERIES}"
        parser.add_argument(f"--{engine.replace('_', '-')}", type=Path, default=place)
    folders = vars(parser.parse_args())
    keep({engine: folder for engine, folder in folders.items() if (folder / "summary.json").exists()})
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
