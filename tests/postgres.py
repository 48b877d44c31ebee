"""A PostgreSQL server of its own, for tests and measurements that compare with one."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from do_bridge.relay.ports import free_port
from do_bridge.relay.processes import end_group, guarded

#: Where Debian has them; the newest version is taken.
_PLACES: Final = Path("/usr/lib/postgresql")
_SECONDS: Final = 60.0
USER: Final = "do_bridge"
# Nothing outlives the server, and nothing happens by itself.
_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "listen_addresses": "127.0.0.1",
    "max_prepared_transactions": "20",
}


def binaries() -> Path | None:
    """Return the folder with PostgreSQL's programs, or None if this machine has none that it can run."""
    found = sorted(_PLACES.glob("*/bin/initdb"), key=lambda place: float(place.parts[-3]))
    if not found or (_is_root() and (_account() is None or shutil.which("setpriv") is None)):
        return None
    return found[-1].parent


def reason_to_skip() -> str:
    """Return why there can be no server on this machine, or an empty text."""
    if binaries() is not None:
        return ""
    return f"PostgreSQL is not in {_PLACES}, or root has no account 'postgres' to run it with"


class NoPostgres(RuntimeError):
    """There can be no server on this machine; the text says why."""


class PostgresServer:
    """A running server with its data in a temporary folder; a context manager. `dsn` says where it is.

    `as_installed`: PostgreSQL's own settings, and a log-in without a password's round trips.
    """

    def __init__(self, *, as_installed: bool = False) -> None:
        found = binaries()
        if found is None:
            raise NoPostgres(reason_to_skip())
        self._settings = {"listen_addresses": "127.0.0.1"} if as_installed else _SETTINGS
        self._auth = "trust" if as_installed else "scram-sha-256"
        self._binaries = found
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def dsn(self) -> str:
        """The connection string, with the password of this server's life."""
        return f"host=127.0.0.1 port={self.port} user={USER} password={self._password} dbname=postgres"

    @property
    def database(self) -> dict[str, str]:
        """The entry of DATABASES without a name and a port, which a proxy may stand before."""
        return {"HOST": "127.0.0.1", "USER": USER, "PASSWORD": self._password}

    def __enter__(self) -> PostgresServer:
        try:
            self._make()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server at once, and remove its folder."""
        with contextlib.suppress(OSError, ValueError):
            # A fast shutdown waits for no client.
            os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
            end_group(self._process.pid)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        account = _account() if _is_root() else None
        if account is not None:
            for place in (self._folder, secret):
                os.chown(place, account.pw_uid, account.pw_gid)
        command = [str(self._binaries / "initdb"), "--pgdata", str(self._data), "--username", USER]
        command += ["--pwfile", str(secret), "--auth", self._auth, "--locale", "C", "--encoding", "UTF8"]
        done = subprocess.run(_as_account([*command, "--no-sync"]), capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise NoPostgres(f"initdb failed:\n{done.stderr}")

    def _start(self) -> None:
        # Measurements are possible without it.
        import psycopg

        settings = self._settings | {"port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                guarded(_as_account(command), self._folder),
                cwd="/",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self._folder / "log").read_text(errors="replace")
                    raise NoPostgres(f"PostgreSQL did not start:\n{text}") from None
            time.sleep(0.05)


def _is_root() -> bool:
    return os.geteuid() == 0


def _account() -> pwd.struct_passwd | None:
    """Return the account that Debian's package makes; the server refuses to run as root."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as_account(command: list[str]) -> list[str]:
    account = _account() if _is_root() else None
    if account is None:
        return command
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [*drop, *command]
