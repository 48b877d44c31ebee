"""Tests do_bridge.contrib against the real packages: `python -m tests.applications.integrations.run`.

Arguments are names of files, for example check_celery.py; without arguments all run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.applications.environment import python_of
from tests.applications.programs import environment, run_to_end

HERE = Path(__file__).resolve().parent
SECONDS = 7200
#: Workers, tasks, and workers that are killed.
ONCE = "8,1000,4"


def command(python: Path | str, files: tuple[str, ...]) -> list[str]:
    """Return the command that runs the tests of some files; without files of all."""
    own = ["-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "-o", "timeout=1800"]
    return [str(python), "-m", "pytest", *own, *(str(HERE / name) for name in files or (".",))]


def play_all(files: tuple[str, ...] = ()) -> bool:
    """Run the tests, each package being there; True if all pass."""
    python = python_of("integrations", HERE.name)
    values = environment(INTEGRATIONS_ALL="1", TASKS_ONCE=ONCE)
    return run_to_end("The test run", [*command(python, files), "-q"], values, SECONDS, cwd=HERE)


if __name__ == "__main__":
    sys.exit(0 if play_all(tuple(sys.argv[1:])) else 1)
