"""Serve the site on this machine only: `make run`."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from do_bridge.relay import LocalRelay, RelayError, envfile
from do_bridge.relay.local import database_id
from do_bridge.relay.ports import HOST, check_port, free_port, port_setting
from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import Stopped, ended_by_signals, say
from do_bridge.relay.tokens import OPTIONAL_TOKENS

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
STATE = ROOT / "state"
DATABASE_ID, TEST_DATABASE_ID = database_id(0), database_id(1)
RELAY_PORT = 8787
CHECK_SECONDS = 2.0
ANSWER_SECONDS = 5.0
PATIENCE = 3  # requests without an answer
PREPARATION = (
    ("migrate", "--database", "default", "--verbosity", "0"),
    ("migrate", "--database", "tenant", "--verbosity", "0"),
    ("seed_demo",),
    ("collectstatic", "--noinput", "--verbosity", "0"),
)


def write_env_file(path: Path, worker: LocalRelay) -> bool:
    """Write the settings of this machine's own databases if there is no `.env` yet.

    Returns True if it did.
    """
    if path.exists():
        return False
    settings = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DEBUG": "False",
        "SECURE": "False",
        **worker.settings(),
        # As the site has it, so that a command beside it rolls back, too.
        "D1_TRANSACTIONS": "optimistic",
        "MIGRATE_TOKEN": secrets.token_urlsafe(32),
    }
    lines = ["# Made by `make run` for this machine alone; .env.example explains every name."]
    lines += [f"{name}={value}" for name, value in settings.items()]
    envfile.write_private(path, "\n".join(lines) + "\n")
    return True


def local_environment(worker: LocalRelay) -> dict[str, str]:
    """Return the environment of Django's processes.

    It is `.env`, but always with this machine's databases.
    """
    return os.environ | {
        "SECRET_KEY": envfile.read(ENV_FILE).get("SECRET_KEY") or secrets.token_urlsafe(50),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "SECURE": "False",
        "TENANT_DOMAIN": "",
        "CLOUDFLARE_DATABASE_ID": DATABASE_ID,
        "D1_TEST_DATABASE_ID": TEST_DATABASE_ID,
        "D1_TRANSPORT": "relay",
        "D1_TRANSACTIONS": "optimistic",
        "RELAY_URL": worker.url,
        "RELAY_JURISDICTION": "",  # the local runtime has none
        "RELAY_TOKEN": worker.token,
        **dict.fromkeys(OPTIONAL_TOKENS, ""),
    }


def choose_relay_port(site_port: int) -> int:
    """Return RELAY_PORT, which must be free then, or 8787, or any free port.

    Never the port of the site.
    """
    port = port_setting("RELAY_PORT", RELAY_PORT)
    if os.environ.get("RELAY_PORT"):
        if port == site_port:
            raise RelayError(f"PORT and RELAY_PORT are both {port}. Set one of them to another port.")
        check_port(port, "another with RELAY_PORT=<port>")
        return port
    try:
        check_port(RELAY_PORT)
    except RelayError:
        return free_port()
    return RELAY_PORT if site_port != RELAY_PORT else free_port()


@contextlib.contextmanager
def child(command: list[str], environment: dict[str, str]):
    """Run a process in its own group.

    Ctrl-C then reaches it through this process, in order.
    """
    process = subprocess.Popen(  # noqa: S603
        guarded(command), cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        end_group(process.pid, grace=10)
        process.wait()


def prepare(environment: dict[str, str]) -> None:
    """Prepare schema, demo data and static files.

    Raises LocalWorkerError if that fails.
    """
    command = [sys.executable, "-m", "project.serve", "prepare"]
    with child(command, environment) as process:
        if process.wait() != 0:
            raise RelayError("The databases could not be prepared. The reason is above.")


def run_preparation() -> None:
    """Run the child of prepare().

    One process does all the work, because starting Django takes longer than that.
    """
    import django
    from django.core.management import CommandError, call_command

    django.setup()
    for command in PREPARATION:
        try:
            call_command(*command)
        except CommandError as error:
            sys.stderr.write(f"{' '.join(command[:3])}: {error}\n")
            # One tenant that is not ready does not keep the others from their visitors.
            if command[:3] != ("migrate", "--database", "tenant"):
                sys.exit(1)


def healthy(url: str) -> bool:
    """Return whether the address answers 200 within ANSWER_SECONDS."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


def wait_for_site(server: subprocess.Popen[bytes], url: str, seconds: float = 60) -> None:
    """Return once gunicorn answers.

    Raises LocalWorkerError if it ends or does not answer.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RelayError("gunicorn ended while it started. The reason is above.")
        if healthy(url):
            return
        time.sleep(0.1)
    raise RelayError(f"The site did not answer within {seconds:g} s. Run `make run` again.")


def watch(server: subprocess.Popen[bytes], worker: LocalRelay) -> None:
    """Watch both until one of them is gone, then raise LocalWorkerError.

    Never return. The local runtime has one thread for all databases, so one long statement makes it silent: a
    Worker that is silent and computes is busy.
    """
    silent: list[float] = []  # workerd's processor time at each request without an answer
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=CHECK_SECONDS)
            raise RelayError(f"gunicorn has ended with code {server.returncode}. Run `make run` again.")
        if not worker.alive():
            raise RelayError(f"The local relay has ended. Run `make run` again.{worker.log_tail()}")
        if healthy(f"{worker.url}/healthz"):
            if len(silent) >= PATIENCE:
                say("The local relay answers again.")
            silent.clear()
            continue
        silent.append(worker.cpu_seconds())
        if len(silent) >= PATIENCE and silent[-1] == silent[-PATIENCE]:
            raise RelayError(f"The local relay no longer answers. Run `make run` again.{worker.log_tail()}")
        if len(silent) == PATIENCE:
            say(
                "The local relay is busy with a long statement, and all databases wait for it. It "
                "continues afterwards. Ctrl-C ends everything."
            )


def gunicorn(port: int) -> list[str]:
    """Return the command of the web server; gunicorn.conf.py has the rest."""
    options = ("--bind", f"{HOST}:{port}", "--workers", "1", "--graceful-timeout", "5")
    return [sys.executable, "-m", "gunicorn", *options, "--log-level", "warning"]


def greet(port: int, worker: LocalRelay, seconds: float) -> None:
    """Print the addresses and the login."""
    site = f"http://{HOST}:{port}"
    password = STATE / "demo-password"
    say(f"\nReady after {seconds:.0f} s: {site}/")
    say(f"  the admin of D1:             {site}/admin/")
    say(f"  the relay:                   {worker.url}, data in {STATE.name}/")
    if password.exists():
        say(f"  log in as:                   admin, password {password.read_text().strip()}")
    say("Ctrl-C ends everything. The data stays.\n")


def serve(port: int) -> None:
    """Run until it is stopped.

    Raises LocalWorkerError for everything that goes wrong.
    """
    started = time.monotonic()
    check_port(port, "another with PORT=<port>")
    relay_port = choose_relay_port(port)
    say("Starting the local relay…")
    with LocalRelay(STATE, relay_port) as worker:
        if write_env_file(ENV_FILE, worker):
            say(f"Wrote {ENV_FILE.name} with new secrets for this machine.")
        elif worker.refresh(ENV_FILE):
            say(f"RELAY_URL in {ENV_FILE.name} is now {worker.url}, for commands in another terminal.")
        environment = local_environment(worker)
        say("Preparing D1 and the tenants…")
        prepare(environment)
        with child(gunicorn(port), environment) as server:
            wait_for_site(server, f"http://{HOST}:{port}/healthz")
            greet(port, worker, time.monotonic() - started)
            watch(server, worker)


def main() -> int:
    """Return 0 after Ctrl-C or SIGTERM, 1 with a message after a failure."""
    try:
        with ended_by_signals():
            serve(port_setting("PORT", 8000))
    except Stopped:
        say("\nStopped.")
        return 0
    except RelayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["prepare"]:
        run_preparation()
    else:
        sys.exit(main())
