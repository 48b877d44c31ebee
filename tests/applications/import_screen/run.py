"""Measures the import screen: `python -m tests.applications.import_screen.run` prints a table for the docs.

Each figure is of a file that is too long: the rows that the screen got through before its lease ended.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import python_of
from tests.applications.programs import environment, worker_in
from tests.driver.proxy import Proxy

HERE = Path(__file__).resolve().parent
ROUND_TRIPS = (10, 20, 50)  # milliseconds that are added to each
LEASES = (10, 25)
# "again" is "plain" with a file whose rows are there already.
ROWS = {"plain": 3_000, "again": 3_000, "bulk": 12_000, "blind": 40_000}


class SlowProxy(Proxy):
    """A Proxy that passes each piece on after `delay` seconds, in both directions."""

    delay = 0.0

    def _holds(self, source: object, answers: bool) -> bool:
        time.sleep(self.delay)
        return super()._holds(source, answers)  # type: ignore[arg-type]


def main() -> int:
    """Measure every case, or those of the resources that the arguments name; print a row for each."""
    python = python_of("import-screen", HERE.name)
    say("| resource | added | lease | rows | round trips for a row | previewed |")
    with tempfile.TemporaryDirectory() as name, worker_in(Path(name)) as worker:
        for resource, added, lease in itertools.product(sys.argv[1:] or ROWS, ROUND_TRIPS, LEASES):
            with SlowProxy(worker.port) as proxy:
                proxy.delay = added / 2000
                found = measure(python, resource, ROWS[resource], lease, proxy.url, worker.token, Path(name))
            each = found["trips"] / max(found["rows"], 1)
            what = f"yes, in {found['seconds']} s" if found["previewed"] else f"no ({found['status']})"
            say(f"| {resource} | {added} ms | {lease} s | {found['rows']} | {each:.1f} | {what} |")
    return 0


def measure(python: Path, resource: str, rows: int, lease: int, url: str, token: str, folder: Path) -> dict:
    """Let the screen's own Python preview a file; return what it prints."""
    values = environment(APPLICATION_ENGINE="durable_object", APPLICATION_FOLDER=str(folder))
    values |= {"RELAY_URL": url, "RELAY_TOKEN": token}
    values |= {"IMPORT_RESOURCE": resource, "IMPORT_LEASE": str(lease)}
    command = guarded([str(python), "-W", "ignore", str(HERE / "play.py"), str(rows)])
    process = subprocess.Popen(command, env=values, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        end_group(process.pid)
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
