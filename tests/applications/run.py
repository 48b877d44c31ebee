"""Runs applications on sqlite3 and both engines and compares: `python -m tests.applications.run wagtail`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from do_bridge.relay.terminal import say
from tests.applications.compare import differences, faults, judge, size
from tests.applications.environment import HERE, STATE, python_of
from tests.applications.integrations import run as integrations
from tests.applications.known import KNOWN
from tests.applications.own_tests.run import run_all as run_own_tests
from tests.applications.programs import all_pass, environment, fresh, named, run_to_end, worker_in
from tests.applications.tenants.run import play_all
from tests.applications.tools.run import play_all as play_tools
from tests.production import ProductionWorker

APPLICATIONS = {
    "celery-results": "site_celery_results",
    "wagtail": "site_wagtail",
    "oscar": "site_oscar",
    "cms": "site_cms",
}
TENANTS = "tenants"  # other people's applications inside tenants
OWN_TESTS = "own-tests"  # the tests that applications ship
INTEGRATIONS = "integrations"  # do_bridge.contrib with the packages that it serves
TOOLS = "tools"  # backups, storages and libSQL's clients
# What is no site to compare.
PLAYED = {
    TENANTS: play_all,
    OWN_TESTS: run_own_tests,
    INTEGRATIONS: integrations.play_all,
    TOOLS: play_tools,
}
ENGINES = ("sqlite3", "d1", "durable_object")
SECONDS = 1800  # for one application on one engine


def main() -> int:
    """Run the applications that the arguments name, else all; return 1 if one of them fails."""
    chosen = named([*APPLICATIONS, *PLAYED], "application", __doc__)
    return 0 if all_pass(chosen, lambda name: PLAYED.get(name, partial(run, name))()) else 1


def run(name: str) -> bool:
    """Run one application on the engines; print what differs; True if nothing does that is not known."""
    say(f"== {name}")
    python = python_of(name, APPLICATIONS[name])
    folder = STATE / name
    with worker_in(fresh(folder / "relay")) as worker:
        if not all(play(name, python, engine, fresh(folder / engine), worker) for engine in ENGINES):
            return False
    if broken := faults(folder / ENGINES[0]):
        say("\n".join([f"{name} is not fit to be compared, on sqlite3 itself:", *broken]))
        return False
    found = [
        item for engine in ENGINES[1:] for item in differences(engine, folder / ENGINES[0], folder / engine)
    ]
    unexplained, unneeded = judge(found, KNOWN.get(name, []))
    for difference in unexplained:
        say(f"{difference}")
    for entry in unneeded:
        say(f"{entry.engine}: {entry.subject}: known ({entry.reason}), but it did not appear. Take it out.")
    say(f"{name}: {size(folder / ENGINES[0])} on each engine.")
    say(f"{name}: {len(found) - len(unexplained)} known differences, {len(unexplained)} others.")
    return not unexplained and not unneeded


def play(name: str, python: Path, engine: str, folder: Path, worker: ProductionWorker) -> bool:
    """Let the application's own Python play it on one engine; True if it came to its end."""
    say(f"{name} on {engine}")
    values = environment(APPLICATION_ENGINE=engine, RELAY_URL=worker.url, RELAY_TOKEN=worker.token)
    values["PYTHONHASHSEED"] = "0"  # the order of sets reaches pages
    command = [python, "-W", "ignore", HERE / "play.py", APPLICATIONS[name], folder]
    return run_to_end(f"{name} on {engine}", command, values, SECONDS, cwd=folder)


if __name__ == "__main__":
    sys.exit(main())
