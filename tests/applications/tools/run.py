"""Other people's tools on this package's databases: `python -m tests.applications.tools.run studio`."""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import HERE, STATE, python_of
from tests.conftest import site_environment
from tests.production import ProductionWorker

ROOT = Path(__file__).resolve().parents[3]
FOLDER = STATE / "tools"
# What is played: the program, and whether it needs an S3 server.
PLAYS = {"backups": "play_backups", "studio": "play_studio"}
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
    python, packages = python_of("tools", "tools"), node_packages()
    failed = [name for name in named if not play(name, python, packages)]
    say(f"Failed: {', '.join(failed)}." if failed else "Everything went as it should.")
    return not failed


def node_packages() -> Path:
    """The folder with npm's packages; installs them if the lock is another than before."""
    source, folder = HERE / "tools", FOLDER / "node"
    stamp = folder / hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        npm = [shutil.which("npm") or "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True)
        stamp.touch()
    return folder / "node_modules"


def play(name: str, python: Path, packages: Path) -> bool:
    """Play one with a Worker and an S3 server of its own; True if it came to its end."""
    say(f"== {name}")
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTHON"))
    }
    with (
        ProductionWorker(folder / "relay", token=secrets.token_hex(16)) as worker,
        s3_server(python, folder) as s3,
    ):
        environment |= site_environment(worker) | {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.applications.tools.settings",
            "NODE_PACKAGES": str(packages),
            "S3_URL": s3,
        }
        command = guarded([str(python), "-m", f"tests.applications.tools.{PLAYS[name]}"])
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
        try:
            return process.wait(timeout=SECONDS) == 0
        except subprocess.TimeoutExpired:
            say(f"{name} did not end within {SECONDS} s.")
            return False
        finally:
            end_group(process.pid)
            process.wait()


@contextmanager
def s3_server(python: Path, folder: Path) -> Iterator[str]:
    """A local S3 server, moto's; gives its address."""
    code = (
        "import time; from moto.server import ThreadedMotoServer; "
        "s = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); s.start(); "
        "print('http://%s:%d' % s.get_host_and_port(), flush=True); time.sleep(1e6)"
    )
    with (folder / "s3.log").open("w") as log:
        process = subprocess.Popen(
            guarded([str(python), "-c", code]),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            end_group(process.pid)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
