"""Attacks a local Worker and reports: `python -m tests.torture --rounds 500`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from do_bridge.relay import LocalRelay, RelayError
from do_bridge.relay.ports import check_port
from tests.driver.proxy import Proxy
from tests.production import HistoryWorker


def main() -> int:
    """Run, print the report, return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500, help="kill points; %(default)s")
    parser.add_argument("--seconds", type=float, default=3600, help="an earlier end; %(default)s")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="what is killed, and when")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here, too")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    # Stand-ins for jurisdictions and for the history of the tenants made here: the local runtime has neither.
    history = {"HISTORY_OF": "tenant/n"}
    token = "torture-" + secrets.token_hex(12)
    local = HistoryWorker(folder / "state", quiet_port(), token=token, variables=history)
    with local as worker, Proxy(worker.port) as proxy:
        report = attack(options, worker, proxy, folder)
    from .report import as_json, as_text

    sys.stdout.write(as_text(report))
    if options.json:
        options.json.write_text(json.dumps(as_json(report), indent=1))
    broken = bool(report.faults) or not all(report.planted.values())
    if broken:
        sys.stdout.write(f"Journals, data and log: {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(broken)


def attack(options: argparse.Namespace, worker: LocalRelay, proxy: Proxy, folder: Path) -> Any:
    """Point the settings at the proxy, and run."""
    from tests.conftest import site_environment

    environment = site_environment(worker) | {"RELAY_URL": proxy.url, "LOG_LEVEL": "CRITICAL"}
    # Killed clients leave the semaphores of progress bars behind, which is no news.
    environment["PYTHONWARNINGS"] = "ignore:resource_tracker"
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="tests.torture.settings")
    import django

    django.setup()
    from .run import Limits, Run

    journals = folder / "journals"
    journals.mkdir()
    return Run(Limits(options.rounds, options.seconds, options.seed), worker, proxy, journals).go()


def quiet_port() -> int:
    """Return a free port that the system gives to nobody who connects.

    While the Worker is down its clients try on and on, and one of them would get its port as their own.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with contextlib.suppress(RelayError):
            check_port(port)
            return port


if __name__ == "__main__":
    sys.exit(main())
