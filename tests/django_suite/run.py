"""Runs Django's own test suite on one engine, with the sdist and a local Worker of its own."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STATE = ROOT / "state" / "django-suite"


def tests_folder() -> Path:
    """The `tests/` of the sdist of the Django that is installed; downloaded with pip where it is missing."""
    version = django.get_version()
    unpacked = STATE / f"django-{version}"
    if not (unpacked / "tests").exists():
        STATE.mkdir(parents=True, exist_ok=True)
        options = [
            "--quiet",
            "--no-binary",
            ":all:",
            "--no-deps",
            "--no-build-isolation",
            "--dest",
            str(STATE),
        ]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"Django=={version}"], check=True)
        (archive,) = (path for path in STATE.glob(f"*jango-{version}.tar.gz"))
        with tempfile.TemporaryDirectory(dir=STATE) as folder:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            next(Path(folder).iterdir()).rename(unpacked)
    return unpacked / "tests"


def local_worker(state: Path):  # type: ignore[no-untyped-def]
    """A LocalWorker of worker/local.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("relay_local", ROOT / "worker" / "local.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.LocalWorker(0, state, "suite-token-" + os.urandom(12).hex())


def main() -> int:
    """Returns run_suite.py's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["durable_object", "d1"], required=True)
    parser.add_argument(
        "--labels", default="", help="some labels, separated by commas; else those of labels.txt"
    )
    parser.add_argument("--slots", type=int, default=2, help="labels that run together (at most 4 on D1)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("more", nargs="*", help="further options of run_suite.py, behind `--`")
    options = parser.parse_args()
    out = options.out or STATE / options.engine
    with tempfile.TemporaryDirectory(prefix="django-suite-") as state, local_worker(Path(state)) as worker:
        environment = os.environ | {"RELAY_URL": worker.url, "RELAY_TOKEN": worker.token}
        command = [sys.executable, str(HERE / "run_suite.py"), "--settings", f"settings_{options.engine}"]
        command += ["--pythonpath", str(HERE), "--pythonpath", str(ROOT), "--tests-dir", str(tests_folder())]
        command += ["--labels", str(HERE / "labels.txt"), "--baseline", str(HERE / "baseline.json")]
        command += ["--timeout", "900", "--test-timeout", "60", "--out", str(out)]
        command += ["--parallel-labels", str(options.slots), *options.more]
        if options.labels:
            command += ["--only", options.labels]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
