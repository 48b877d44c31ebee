"""Plays other people's applications in two tenants: `python -m tests.applications.tenants.run notes`."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import STATE, python_of
from tests.production import ProductionWorker

ROOT = Path(__file__).resolve().parents[3]
HERE = "tests.applications.tenants"
# What is played: (settings, program, environment).
PLAYS = {
    "notes": ("settings", "play_notes", {"NOTES_TOKENS": "tenant"}),
    "notes-tokens-in-d1": ("settings", "play_notes", {"NOTES_TOKENS": "d1"}),
    "shop": ("settings_shop", "play_shop", {}),
}
SECONDS = 1800


def main() -> int:
    """Play what the arguments name, else everything; return 1 if something fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plays", nargs="*", metavar="play", help=", ".join(PLAYS))
    named = parser.parse_args().plays or list(PLAYS)
    if unknown := set(named) - set(PLAYS):
        parser.error(f"{', '.join(sorted(unknown))}: not known. Known are {', '.join(PLAYS)}.")
    return 0 if play_all(named) else 1


def play_all(named: Iterable[str] = tuple(PLAYS)) -> bool:
    """Play each one; True if all came to their ends."""
    python = python_of("tenants", "tenants")
    failed = [name for name in named if not play(name, python)]
    say(f"Failed: {', '.join(failed)}." if failed else "Everything went as it should.")
    return not failed


def play(name: str, python: Path) -> bool:
    """Play one with a Worker of its own; True if it came to its end."""
    say(f"== {name}")
    settings, program, extra = PLAYS[name]
    folder = STATE / "tenants" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTHON"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": f"{HERE}.{settings}", **extra}
    with ProductionWorker(folder / "relay", token=secrets.token_hex(16)) as worker:
        environment |= {"RELAY_URL": worker.url, "RELAY_TOKEN": worker.token}
        command = guarded([str(python), "-m", f"{HERE}.{program}"])
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
        try:
            return process.wait(timeout=SECONDS) == 0
        except subprocess.TimeoutExpired:
            say(f"{name} did not end within {SECONDS} s.")
            return False
        finally:
            end_group(process.pid)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
