"""Runs the applications' own tests: `python -m tests.applications.own_tests.run django-reversion`."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import STATE, python_of
from tests.production import ProductionWorker

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
APPLICATIONS = ("django-import-export", "django-reversion", "django-simple-history")
SECONDS = 3600  # for one application on one engine


def main() -> int:
    """Run the tests of the applications that the arguments name, else of all; return 1 if one is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("applications", nargs="*", metavar="application", help=", ".join(APPLICATIONS))
    named = parser.parse_args().applications or APPLICATIONS
    if unknown := set(named) - set(APPLICATIONS):
        parser.error(f"{', '.join(sorted(unknown))}: not known. Known are {', '.join(APPLICATIONS)}.")
    return 0 if run_all(named) else 1


def run_all(named: Iterable[str] = APPLICATIONS) -> bool:
    """Run each on sqlite3 and on D1; print each test that D1 loses; return True if it loses none."""
    python = python_of("own-tests", HERE.name)
    lost = []
    for name in named:
        archive = source_of(name, python)
        stock = outcome(name, "sqlite3", python, archive, {})
        # An empty relay for each: D1 has as many databases for tests as there are aliases here.
        with tempfile.TemporaryDirectory() as state, worker_in(state) as worker:
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


def worker_in(state: str) -> Any:
    """Return a local Worker with its data in a folder."""
    return ProductionWorker(Path(state), token=secrets.token_hex(16))


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
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTHON"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", **access}
    command = guarded([str(python), str(HERE / "child.py"), name, engine, str(archive), str(out)])
    with log.open("w") as text:
        process = subprocess.Popen(
            command, env=environment, stdout=text, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            say(f"{name} on {engine} did not end within {SECONDS} s.")
        finally:
            end_group(process.pid)
            process.wait()
    if not out.exists():
        sys.exit(f"The tests of {name} did not run on {engine}. Read {log}.")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
