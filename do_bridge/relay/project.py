"""Reach the Django project of a relay command through its manage.py."""

from __future__ import annotations

import sys
from pathlib import Path

from .errors import RelayError


def manage_py() -> Path:
    """Return the running manage.py, else that of this folder; raise RelayError."""
    running = Path(sys.argv[0])
    script = running if running.name == "manage.py" else Path("manage.py")
    if not script.exists():
        raise RelayError(f"{Path.cwd()} has no manage.py. Run the command in the folder of your project.")
    return script.absolute()


def manage_command(*words: str) -> list[str]:
    """Return the command line of one of the project's commands."""
    return [sys.executable, str(manage_py()), *words]
