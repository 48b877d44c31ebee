"""Tests do_bridge.contrib against the real packages: `python -m tests.applications.integrations.run`.

Arguments are names of files, for example check_celery.py; without arguments all run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import python_of

HERE = Path(__file__).resolve().parent
SECONDS = 7200
#: Workers, tasks, and workers that are killed.
ONCE = "8,1000,4"


def command(python: Path | str, files: tuple[str, ...]) -> list[str]:
    """Return the command that runs the tests of some files; without files of all."""
    own = ["-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "-o", "timeout=1800"]
    return [str(python), "-m", "pytest", *own, *(str(HERE / name) for name in files or (".",))]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what names the settings of other tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTEST_"))}
    return kept | more


def play_all(files: tuple[str, ...] = ()) -> bool:
    """Run the tests, each package being there; True if all pass."""
    python = python_of("integrations", HERE.name)
    values = environment(INTEGRATIONS_ALL="1", TASKS_ONCE=ONCE)
    started = guarded([*command(python, files), "-q"])
    process = subprocess.Popen(started, cwd=HERE, env=values, start_new_session=True)
    try:
        return process.wait(timeout=SECONDS) == 0
    except subprocess.TimeoutExpired:
        say(f"The integrations did not end within {SECONDS} s.")
        return False
    finally:
        end_group(process.pid)
        process.wait()


if __name__ == "__main__":
    sys.exit(0 if play_all(tuple(sys.argv[1:])) else 1)
