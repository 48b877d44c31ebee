"""Run the relay on this machine, on real workerd, and end all of it again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from . import bundle, envfile, tokens, tools
from .envfile import write_private
from .errors import RelayError
from .locking import lock_folder
from .ports import HOST, check_port, free_port
from .processes import cpu_seconds, end_group, group_members, guarded
from .urls import database_urls, is_local

EXPLORER_PATH: Final = "/cdn-cgi/local/explorer/api"
TOKEN_FILE: Final = "relay-token"  # noqa: S105
SERVER: Final = Path(__file__).with_name("node") / "serve.mjs"
DATABASES: Final = 9


def database_id(number: int) -> str:
    """Return the id of a D1 database that exists on this machine only.

    Number 0 is the site's database.
    """
    return f"d0b41d9e-0000-4000-8000-{number:012}"


class LocalRelay:
    """The relay on one port of 127.0.0.1, with its databases in one folder.

    The databases are D1 databases and Durable Objects.

    folder: where the data and the log are; a temporary one if it is left out. port: 0 takes a free one.
    token: RELAY_TOKEN; if it is left out, the folder keeps one. tokens: other tokens by name
    (`tokens.OPTIONAL_TOKENS`). databases: the number of D1 databases. say: called with a line of text before
    tools are installed. start_timeout: seconds to wait until the relay answers. source: a folder with the
    Worker's source, which then runs under `wrangler dev` and is reloaded after each change. others:
    configurations of further Workers, for `source`. echo: the output goes to this process's own instead of
    the log.

    Everything it starts ends with the `with` block, and also when this process dies without leaving it.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        port: int = 0,
        token: str | None = None,
        *,
        tokens: dict[str, str] | None = None,
        databases: int = DATABASES,
        source: Path | None = None,
        others: Sequence[Path] = (),
        echo: bool = False,
        say: Callable[[str], None] | None = None,
        start_timeout: float = 120.0,
    ) -> None:
        self.port = port or free_port()
        self._private = Path(tempfile.mkdtemp(prefix="relay-"))
        self.folder = Path(folder).absolute() if folder else self._private / "state"
        self._token = token
        self.tokens = tokens or {}
        self.databases = databases
        self.source = source
        self.others = others
        self.log = self.folder / "relay.log"
        self.echo = echo
        self.say = say
        self.start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<LocalRelay {self.url} folder={self.folder} pid={self.pid}>"

    @property
    def token(self) -> str:
        """The value of RELAY_TOKEN."""
        if self._token is None:
            self._token = tokens.kept_token(self.folder / TOKEN_FILE)
        return self._token

    @token.setter
    def token(self, token: str) -> None:
        """Set the token for the next start."""
        self._token = token

    @property
    def url(self) -> str:
        """The relay's address: the value of RELAY_URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_base(self) -> str:
        """The address of the local copy of Cloudflare's D1 API: the value of D1_API_BASE."""
        return self.url + EXPLORER_PATH

    @property
    def database_ids(self) -> list[str]:
        """The ids of the D1 databases.

        The first is for the site, the others for its tests.
        """
        return [database_id(number) for number in range(self.databases)]

    def settings(self, *, urls: bool = False) -> dict[str, str]:
        """Return the environment variables of a Django project, by name.

        With `urls` they hold the databases as URLs.
        """
        database, test = self.database_ids[0], self.database_ids[1] if self.databases > 1 else ""
        if urls:
            return database_urls(self.url, self.token, database, test)
        found = {"RELAY_URL": self.url, "RELAY_TOKEN": self.token, "CLOUDFLARE_DATABASE_ID": database}
        return found | ({"D1_TEST_DATABASE_ID": test} if test else {})

    def is_named_by(self, settings: Mapping[str, str]) -> bool:
        """Whether settings name a local relay's database, and no relay elsewhere."""
        own = settings.get("CLOUDFLARE_DATABASE_ID") in self.database_ids
        return own and is_local(settings.get("RELAY_URL", ""))

    def refresh(self, path: Path) -> bool:
        """Write the current address and token into an env file that names a local relay.

        Return True if the file changed. A file that names another database or another relay stays as it is.
        """
        if not self.is_named_by(envfile.read(path)):
            return False
        return envfile.update(path, {"RELAY_URL": self.url, "RELAY_TOKEN": self.token}, add=False)

    @property
    def pid(self) -> int | None:
        """The leader of the process group, or None while nothing runs."""
        return self._process.pid if self._process else None

    def pids(self) -> list[int]:
        """Every live process of this relay, workerd's among them."""
        return sorted(group_members(self._process.pid)) if self._process else []

    def workerd_pids(self) -> list[int]:
        """The live workerd processes alone."""
        members = group_members(self._process.pid) if self._process else {}
        return sorted(pid for pid, name in members.items() if name == "workerd")

    def cpu_seconds(self) -> float:
        """The processor time that workerd has used so far."""
        return sum(map(cpu_seconds, self.workerd_pids()))

    def alive(self) -> bool:
        """Whether the relay's process still runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> LocalRelay:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> LocalRelay:
        """Start the relay and wait until it answers. Raises RelayError."""
        try:
            self.spawn()
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def spawn(self) -> None:
        """Start the processes without waiting for an answer. Raises RelayError."""
        if self._process is not None:
            raise RelayError(f"The relay on port {self.port} has been started already.")
        check_port(self.port)
        self._lock = lock_folder(self.folder)
        env_file = self._private / "secrets.env"
        given = dict.fromkeys(tokens.OPTIONAL_TOKENS, tokens.UNSET) | self.tokens
        given["RELAY_TOKEN"] = self.token
        write_private(env_file, "".join(f"{name}={value}\n" for name, value in given.items()))
        command = self._command(env_file)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                guarded(command, leftovers=self._private),
                stdin=subprocess.DEVNULL,
                stdout=None if self.echo else log,
                stderr=None if self.echo else subprocess.STDOUT,
                cwd=self.source or self.folder,
                env=self._environment(),
                start_new_session=True,
                pass_fds=[self._lock],  # the guard holds it too, in case this process dies first
            )

    def _command(self, env_file: Path) -> list[str]:
        """Return the command that runs the relay; `env_file` holds its secrets."""
        if self.source is None:
            return self._serve(env_file, self._write_configuration())
        return [
            *tools.wrangler_command(self.source),
            *("dev", "--config", str(self.source / "wrangler.jsonc"), "--env-file", str(env_file)),
            *(word for other in self.others for word in ("--config", str(other))),
            *("--ip", HOST, "--port", str(self.port), "--inspector-port", str(free_port())),
            *("--persist-to", str(self.folder), "--log-level", "info"),
            "--show-interactive-dev-session=false",
        ]

    def _serve(self, env_file: Path, *configs: Path) -> list[str]:
        """Return the command that runs Workers without wrangler."""
        folder = tools.tools_folder(self.say)
        words = [tools.node_binary(), SERVER, folder, self.port, self.folder, env_file, *configs]
        return [str(word) for word in words]

    def _write_configuration(self) -> Path:
        """Write the bundle's configuration with the D1 databases; return its path."""
        config = bundle.configuration()
        names = ["DB", *(f"DB_TEST_{number}" for number in range(1, self.databases))]
        bound: list[dict[str, Any]] = [
            {"binding": name, "database_id": found, "database_name": name}
            for name, found in zip(names, self.database_ids, strict=True)
        ]
        config["d1_databases"] = bound
        config["vars"]["D1_DATABASES"] = dict(zip(self.database_ids, names, strict=True))
        path = self._private / "wrangler.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config))
        return path

    def _environment(self) -> dict[str, str]:
        return tools.bare_environment() | {
            "CI": "1",  # no questions, no browser
            "NO_COLOR": "1",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
            # wrangler writes a trace of each call into a database of its own, which takes two thirds of
            # workerd's time and grows its memory. Set it to true to see the traces.
            "X_LOCAL_OBSERVABILITY": os.environ.get("X_LOCAL_OBSERVABILITY", "false"),
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_HIDE_BANNER": "true",  # its search for a newer version is a request to the registry
            "WRANGLER_LOG_PATH": str(self.folder / "logs"),
            # A developer's edit restarts `make worker`, and never a Worker in the middle of a test.
            "WRANGLER_CI_DISABLE_CONFIG_WATCHING": "false" if self.echo else "true",
            # Otherwise two Workers with the same name on one machine would find each other.
            "WRANGLER_REGISTRY_PATH": str(self._private / "registry"),
            "MINIFLARE_REGISTRY_PATH": str(self._private / "registry"),
        }

    def wait(self) -> None:
        """Wait until /healthz answers 200; raise RelayError if it does not.

        The message ends with the end of the log.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + self.start_timeout
        answer = "no answer"
        while time.monotonic() < deadline:
            if not self.alive():
                raise RelayError(f"The local relay ended while it started.{self.log_tail()}")
            try:
                with opener.open(f"{self.url}/healthz", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                answer = f"HTTP {error.code}"
            except OSError:
                pass  # not listening yet
            time.sleep(0.1)
        raise RelayError(
            f"The local relay did not become healthy within {self.start_timeout:g} s ({answer} at "
            f"{self.url}/healthz).{self.log_tail()}"
        )

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of the log, without the token, to append to a message."""
        if self.echo or not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").replace(self.token, "***")
        return "\n--- the end of the log ---\n" + "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """Kill every process at once (SIGKILL), as a crash would."""
        self.stop(grace=0)

    def stop(self, grace: float = 5.0) -> None:
        """End every process, with SIGKILL after `grace` seconds; the data stays."""
        process, self._process = self._process, None
        if process is not None:
            end_group(process.pid, grace)
            process.wait()
            self._wait_for_port()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _wait_for_port(self) -> None:
        """Wait until the port is free.

        A killed process stays a zombie until its last thread ends.
        """
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                check_port(self.port)
            except RelayError:
                time.sleep(0.02)
            else:
                return

    def restart(self) -> LocalRelay:
        """Stop what still runs and start again: same port, same data, same token."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End every process and remove the private files."""
        self.stop()
        shutil.rmtree(self._private, ignore_errors=True)
