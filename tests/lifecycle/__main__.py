"""Lives of tenants by chance: `python -m tests.lifecycle --operations 10000 --seed 1`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from pathlib import Path

from tests.production import HistoryWorker, place_for_data
from tests.torture.__main__ import quiet_port


def main() -> int:
    """Run, print the report, return 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lifecycle", description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000, help="%(default)s")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="what is done, killed, paused")
    parser.add_argument("--pairs", type=int, default=0, help="instead: so often two commands at a time")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    token = "lifecycle-" + secrets.token_hex(12)
    with (
        tempfile.TemporaryDirectory(prefix="lifecycle-", dir=place_for_data()) as folder,
        HistoryWorker(Path(folder) / "state", quiet_port(), token) as worker,
    ):
        from tests.conftest import site_environment

        os.environ.update(site_environment(worker) | {"LOG_LEVEL": "CRITICAL"})
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.lifecycle.settings"
        from .pairs import Pairs
        from .run import Run, as_text

        work = Pairs(options.seed, options.pairs) if options.pairs else Run(options.seed, options.operations)
        report = work.go()
    sys.stdout.write(as_text(report))
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())
