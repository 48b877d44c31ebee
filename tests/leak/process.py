"""One process of the leak test: `python -m tests.leak.process ROLE …`; its tally is its last line."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.driver.proxy import Proxy
from tests.leak.actor import Actor, Cast
from tests.leak.marks import Tally
from tests.leak.role import IMPATIENT, Budget, Progress

# The module and the function of each.
ROLES = {
    "threads": ("role_threads", "play"),
    "faults": ("role_threads", "play_with_faults"),
    "tasks": ("role_tasks", "play"),
    "pages": ("role_pages", "play"),
    "lives": ("role_lives", "play"),
    "keepers": ("role_lives", "play_beside"),
}
# Those whose connections are cut.
PROXIED = ("faults", "keepers")


def main() -> None:
    """Play the role that the arguments name."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("role", choices=ROLES)
    arguments.add_argument("--part", type=int, required=True, help="operations of this role")
    arguments.add_argument("--operations", type=int, required=True, help="operations of all roles")
    arguments.add_argument("--fills", action="store_true", help="do what is left after all parts")
    arguments.add_argument("--progress", type=Path, required=True)
    arguments.add_argument("--place", type=int, required=True)
    arguments.add_argument("--seconds", type=float, required=True)
    arguments.add_argument("--seed", required=True)
    arguments.add_argument("--cast", type=Path, required=True)
    options = arguments.parse_args()
    cast, tally = Cast.from_json(options.cast.read_text()), Tally()
    progress = Progress(options.progress, options.place)
    with contextlib.ExitStack() as stack:
        proxy = None
        if options.role in PROXIED:
            proxy = stack.enter_context(Proxy(urlsplit(os.environ["RELAY_URL"]).port))
            os.environ["RELAY_URL"] = proxy.url
        set_up(options.role)
        module, function = ROLES[options.role]
        play = getattr(importlib.import_module(f"tests.leak.{module}"), function)
        budget = Budget(options.part, options.operations, options.seconds, progress, fills=options.fills)
        started = time.monotonic()
        play(lambda number: Actor(f"{options.role}{number}", options.seed, cast), tally, budget, proxy)
        tally.worked(options.role, time.monotonic() - started)
    sys.stdout.write("\n" + json.dumps(tally.as_json()) + "\n")


def set_up(role: str) -> None:
    """Start Django with this role's settings, and the leak that the environment asks for."""
    import django

    if role == "faults":
        os.environ["LEAK_OPTIONS"] = json.dumps(IMPATIENT)
    django.setup()
    from tests.leak.plants import install

    install(os.environ.get("LEAK_PLANT", ""))


if __name__ == "__main__":
    main()
