"""An environment of its own for each application, made from its lock with the hashes of its files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = HERE.parent.parent / "state" / "applications"


def python_of(application: str, package: str) -> Path:
    """The Python that has the application's packages; installs them if the lock is another than before."""
    folder = STATE / application / ".venv"
    lock = HERE / package / "requirements-lock.txt"
    python = folder / "bin" / "python"
    stamp = folder / f"installed-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
        subprocess.run(install, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        stamp.touch()
    return python
