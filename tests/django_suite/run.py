"""Runs Django's own test suite on one engine, with the sdist and a local Worker of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for place in (str(ROOT), str(HERE)):
    if place not in sys.path:
        sys.path.insert(0, place)

import results  # noqa: E402
import sdist  # noqa: E402

from tests.production import ProductionWorker  # noqa: E402

ENGINES = ("durable_object", "d1", "d1_optimistic")


def local_worker(state: Path) -> Any:
    """A ProductionWorker with its data in the folder `state`."""
    return ProductionWorker(state, token="suite-token-" + os.urandom(12).hex())


def run(engine: str, worker: Any, out: Path, *, labels: str = "", slots: int = 2, **options: Any) -> int:
    """Runs labels (of labels.txt: all) against a started Worker; returns run_suite.py's exit code.

    `out` is the folder for what it writes, `slots` how many labels run together, `first_slot` the first of
    the databases that they use, `more` further options of run_suite.py.
    """
    environment = os.environ | {"RELAY_URL": worker.url, "RELAY_TOKEN": worker.token}
    environment["DJSUITE_FIRST_SLOT"] = str(options.get("first_slot", 0))
    command = [sys.executable, str(HERE / "run_suite.py"), "--settings", f"settings_{engine}"]
    command += ["--pythonpath", str(HERE), "--pythonpath", str(ROOT)]
    command += ["--tests-dir", str(sdist.tests_folder()), "--labels", str(HERE / "labels.txt")]
    command += ["--baseline", str(results.BASELINE), "--timeout", "3600", "--test-timeout", "600"]
    command += ["--out", str(out), "--parallel-labels", str(slots), *options.get("more", ())]
    if labels:
        command += ["--only", labels]
    return subprocess.run(command, env=environment, check=False).returncode


def run_stock(out: Path) -> int:
    """Run all labels on Django's sqlite3 engine and keep what passes as this series' baseline."""
    command = [sys.executable, str(HERE / "run_suite.py"), "--settings", "settings_stock"]
    command += ["--pythonpath", str(HERE), "--tests-dir", str(sdist.tests_folder())]
    command += ["--labels", str(HERE / "labels.txt"), "--timeout", "900", "--out", str(out)]
    code = subprocess.run(command, check=False).returncode
    print(f"{results.keep_baseline(out)} tests pass on stock sqlite3: {results.BASELINE.name}")  # noqa: T201
    return code


def main() -> int:
    """Returns 1 where a test was lost that the series' expected losses do not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=(*ENGINES, "stock"), required=True)
    parser.add_argument("--labels", default="", help="some, separated by commas; else those of labels.txt")
    parser.add_argument("--slots", type=int, default=2, help="labels that run together (at most 4 on D1)")
    parser.add_argument("--out", type=Path, help="folder for what is written; else one under state/")
    parser.add_argument("more", nargs="*", help="further options of run_suite.py, behind `--`")
    options = parser.parse_args()
    out = options.out or sdist.STATE / f"{options.engine}-{results.SERIES}"
    if options.engine == "stock":
        return run_stock(out)
    labels = options.labels.replace(" ", ",")
    with tempfile.TemporaryDirectory(prefix="django-suite-") as state, local_worker(Path(state)) as worker:
        code = run(options.engine, worker, out, labels=labels, slots=options.slots, more=options.more)
    if code:
        return code
    lost = results.unexpected(options.engine, out)
    print(f"{len(lost)} lost that {results.EXPECTED.name} does not have", *lost, sep="\n  ")  # noqa: T201
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
