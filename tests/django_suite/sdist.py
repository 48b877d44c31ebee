"""The `tests/` of the sdist of the Django that is installed, downloaded with pip where it is missing."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

STATE = Path(__file__).resolve().parent.parent.parent / "state" / "django-suite"


def version() -> str:
    """The version of the Django that is installed."""
    return django.get_version()


def tests_folder() -> Path:
    """Returns the folder; raises CalledProcessError where pip cannot download it."""
    unpacked = STATE / f"django-{version()}"
    STATE.mkdir(parents=True, exist_ok=True)
    # Several test processes may ask at once.
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (unpacked / "tests").exists():
            _download(unpacked)
    return unpacked / "tests"


def _download(unpacked: Path) -> None:
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        options = ["--quiet", "--no-binary", ":all:", "--no-deps", "--dest", folder]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, f"Django=={version()}"], check=True
        )
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(Path(folder) / "unpacked", filter="data")
        (made,) = (Path(folder) / "unpacked").iterdir()
        made.rename(unpacked)
