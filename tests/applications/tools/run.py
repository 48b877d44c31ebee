"""Other people's tools on this package's databases: `python -m tests.applications.tools.run studio`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import say
from tests.applications.environment import HERE, STATE, python_of
from tests.applications.programs import ROOT, all_pass, environment, fresh, named, run_to_end, worker_in
from tests.conftest import site_environment

FOLDER = STATE / "tools"
# What is played: the program, and whether it needs an S3 server.
PLAYS = {"backups": "play_backups", "studio": "play_studio"}
SECONDS = 1800


def play_all(names: Iterable[str] = tuple(PLAYS)) -> bool:
    """Play each one; True if all came to their ends."""
    python, packages = python_of("tools", "tools"), node_packages()
    return all_pass(names, partial(play, python=python, packages=packages))


def node_packages() -> Path:
    """The folder with npm's packages; installs them if the lock is another than before."""
    source, folder = HERE / "tools", FOLDER / "node"
    stamp = folder / hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]
    if not stamp.exists():
        fresh(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        npm = [shutil.which("npm") or "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True)
        stamp.touch()
    return folder / "node_modules"


def play(name: str, python: Path, packages: Path) -> bool:
    """Play one with a Worker and an S3 server of its own; True if it came to its end."""
    say(f"== {name}")
    folder = fresh(FOLDER / name)
    with worker_in(folder / "relay") as worker, s3_server(python, folder) as s3:
        values = environment(
            **site_environment(worker),
            PYTHONPATH=str(ROOT),
            DJANGO_SETTINGS_MODULE="tests.applications.tools.settings",
            NODE_PACKAGES=str(packages),
            S3_URL=s3,
        )
        command = [python, "-m", f"tests.applications.tools.{PLAYS[name]}"]
        return run_to_end(name, command, values, SECONDS, cwd=folder)


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
    sys.exit(0 if play_all(named(PLAYS, "play", __doc__)) else 1)
