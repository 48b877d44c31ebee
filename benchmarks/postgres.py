"""A PostgreSQL server of its own for a measurement, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, Self

from do_bridge.relay.ports import free_port
from do_bridge.relay.processes import end_group, guarded

FOLDERS = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
USER = "postgres"


class NoPostgres(Exception):
    """PostgreSQL cannot be measured; the text says why."""


class Postgres:
    """A server on a free port; a context manager that starts it, and ends it whatever happens."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="distance-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, str | int]:
        """What DATABASES needs beside the port."""
        return {"HOST": "127.0.0.1", "USER": USER, "NAME": "postgres"}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            end_group(self._process.pid, grace=10)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        folder = binaries()
        data = self._folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            self._folder.chmod(0o755)
            os.chown(data, owner.pw_uid, owner.pw_gid)
        with (self._folder / "log").open("wb") as log:
            self._serve(folder, data, log)
        self._wait(folder / "pg_isready")

    def _serve(self, folder: Path, data: Path, log: BinaryIO) -> None:
        make = [folder / "initdb", "-D", data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync"]
        done = subprocess.run(as_user(make), stdout=log, stderr=log, cwd=data)  # noqa: S603
        if done.returncode:
            raise NoPostgres(f"initdb failed: {self._told()}")
        serve = [folder / "postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        self._process = subprocess.Popen(  # noqa: S603
            guarded([*as_user(serve), "-c", "unix_socket_directories="], self._folder),
            stdout=log,
            stderr=log,
            cwd=data,
            start_new_session=True,
        )

    def _wait(self, ready: Path) -> None:
        ask = [str(ready), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ask).returncode:  # noqa: S603
            if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                raise NoPostgres(f"postgres did not start: {self._told()}")
            time.sleep(0.05)

    def _told(self) -> str:
        return (self._folder / "log").read_text(errors="replace").strip()[-500:]


def binaries() -> Path:
    """Return the folder of the server's programs; raises NoPostgres."""
    for folder in FOLDERS:
        if (folder / "postgres").exists():
            return folder
    raise NoPostgres("its programs are not installed (Debian's package is postgresql-15)")


def as_user(command: list[Path | str]) -> list[str]:
    """Return a command that does not run as root, which PostgreSQL refuses."""
    words = [str(word) for word in command]
    if os.geteuid():
        return words
    try:
        pwd.getpwnam(USER)
    except KeyError:
        raise NoPostgres(f"it refuses root, and there is no user {USER!r}") from None
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *words]
