"""Plays other people's applications in two tenants: `python -m tests.applications.tenants.run notes`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from do_bridge.relay.terminal import say
from tests.applications.environment import STATE, python_of
from tests.applications.programs import ROOT, all_pass, environment, fresh, named, run_to_end, worker_in

HERE = "tests.applications.tenants"
# What is played: (settings, program, environment).
PLAYS = {
    "notes": ("settings", "play_notes", {"NOTES_TOKENS": "tenant"}),
    "notes-tokens-in-d1": ("settings", "play_notes", {"NOTES_TOKENS": "d1"}),
    "shop": ("settings_shop", "play_shop", {}),
}
SECONDS = 1800


def play_all(names: Iterable[str] = tuple(PLAYS)) -> bool:
    """Play each one; True if all came to their ends."""
    return all_pass(names, partial(play, python=python_of("tenants", "tenants")))


def play(name: str, python: Path) -> bool:
    """Play one with a Worker of its own; True if it came to its end."""
    say(f"== {name}")
    settings, program, extra = PLAYS[name]
    folder = fresh(STATE / "tenants" / name)
    values = environment(PYTHONPATH=str(ROOT), DJANGO_SETTINGS_MODULE=f"{HERE}.{settings}", **extra)
    with worker_in(folder / "relay") as worker:
        values |= {"RELAY_URL": worker.url, "RELAY_TOKEN": worker.token}
        return run_to_end(name, [python, "-m", f"{HERE}.{program}"], values, SECONDS, cwd=folder)


if __name__ == "__main__":
    sys.exit(0 if play_all(named(PLAYS, "play", __doc__)) else 1)
