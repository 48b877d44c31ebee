"""Programs of an application's own Python: their environment, their time limit and their end."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.production import ProductionWorker

ROOT = Path(__file__).resolve().parents[2]


def named(known: Iterable[str], what: str, description: str | None) -> list[str]:
    """Return the names on the command line, or all known ones; exits if one is not known."""
    known = list(known)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", metavar=what, help=", ".join(known))
    chosen: list[str] = parser.parse_args().names or known
    if unknown := set(chosen) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: not known. Known are {', '.join(known)}.")
    return chosen


def all_pass(names: Iterable[str], play: Callable[[str], bool]) -> bool:
    """Play each name; print those that fail, and return whether none does."""
    failed = [name for name in names if not play(name)]
    say(f"Failed: {', '.join(failed)}." if failed else "Everything is as it should be.")
    return not failed


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without the names that choose settings of other tests."""
    others = ("DJANGO_", "PYTHON", "PYTEST_")
    return {key: value for key, value in os.environ.items() if not key.startswith(others)} | more


def fresh(folder: Path) -> Path:
    """Return an empty folder, without what an earlier run has left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def worker_in(folder: Path) -> ProductionWorker:
    """Return a local Worker with its data in a folder, not yet started."""
    return ProductionWorker(folder, token=secrets.token_hex(16))


def run_to_end(
    name: str, command: Sequence[str | Path], values: Mapping[str, str], seconds: float, **options: Any
) -> bool:
    """Run a program; return whether it succeeded in time. Whatever it started ends with it."""
    started = guarded([str(word) for word in command])
    process = subprocess.Popen(started, env=dict(values), start_new_session=True, **options)
    try:
        return process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        say(f"{name} did not end within {seconds} s.")
        return False
    finally:
        end_group(process.pid)
        process.wait()
