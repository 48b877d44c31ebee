"""Runs the applications' own tests: `python -m tests.applications.own_tests.run django-reversion`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from do_bridge.relay.terminal import say
from tests.applications.environment import STATE, python_of
from tests.applications.programs import ROOT, environment, named, run_to_end, worker_in

HERE = Path(__file__).resolve().parent
APPLICATIONS = ("django-import-export", "django-reversion", "django-simple-history")
SECONDS = 3600  # for one application on one engine


def run_all(names: Iterable[str] = APPLICATIONS) -> bool:
    """Run each on sqlite3 and on D1; print each test that D1 loses; return True if it loses none."""
    python = python_of("own-tests", HERE.name)
    lost = []
    for name in names:
        archive = source_of(name, python)
        stock = outcome(name, "sqlite3", python, archive, {})
        # An empty relay for each: D1 has as many databases for tests as there are aliases here.
        with tempfile.TemporaryDirectory() as state, worker_in(Path(state)) as worker:
            access = {"RELAY_URL": worker.url, "RELAY_TOKEN": worker.token}
            found = outcome(name, "d1", python, archive, access)
        missing = sorted(set(stock["passed"]) - set(found["passed"]))
        passed = len(stock["passed"])
        say(f"{name}: {passed - len(missing)} of the {passed} tests that pass on sqlite3 pass on D1")
        lost += [f"{name}: {test}: {found['lost'].get(test, 'did not run')}" for test in missing]
        if not passed:
            lost.append(f"{name}: no test passes on sqlite3")
    for line in lost:
        say(line)
    return not lost


def source_of(name: str, python: Path) -> Path:
    """Return the folder of the source archive, which alone has tests, of the version that is installed."""
    script = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    version = subprocess.run(
        [str(python), "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()
    folder = STATE / "own-tests" / f"{name}-{version}"
    if not folder.exists():
        _download(name, version, python, folder)
    return folder


def _download(name: str, version: str, python: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", place]
        command = [str(python), "-m", "pip", "download", *options, f"{name}=={version}"]
        subprocess.run(command, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(Path(place) / "unpacked", filter="data")
        (made,) = (Path(place) / "unpacked").iterdir()
        made.rename(folder)


def outcome(name: str, engine: str, python: Path, archive: Path, access: dict[str, str]) -> dict[str, Any]:
    """Run one application's tests on one engine; return which passed, and what became of the others."""
    folder = STATE / "own-tests"
    out, log = folder / f"{name}-{engine}.json", folder / f"{name}-{engine}.log"
    out.unlink(missing_ok=True)
    values = environment(PYTHONPATH=str(ROOT), PYTHONHASHSEED="0", **access)
    command = [python, HERE / "child.py", name, engine, archive, out]
    with log.open("w") as text:
        run_to_end(f"{name} on {engine}", command, values, SECONDS, stdout=text, stderr=subprocess.STDOUT)
    if not out.exists():
        sys.exit(f"The tests of {name} did not run on {engine}. Read {log}.")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


if __name__ == "__main__":
    sys.exit(0 if run_all(named(APPLICATIONS, "application", __doc__)) else 1)
