"""`relay dev`: run the relay on this machine until Ctrl-C.

It includes D1 and Durable Objects.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from do_bridge.relay import envfile, project
from do_bridge.relay.errors import RelayError
from do_bridge.relay.local import DATABASES, LocalRelay
from do_bridge.relay.ports import check_port, free_port, port_setting
from do_bridge.relay.processes import end_group, guarded
from do_bridge.relay.terminal import Stopped, ended_by_signals
from do_bridge.relay.urls import DATABASE_URL, TENANT_DATABASE_URL, is_local, is_other

help = "Run a local relay with D1 and Durable Objects until Ctrl-C, for development and tests."
USUAL_PORT = 8787
FOLDER = ".relay"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own options."""
    parser.add_argument("--port", type=int, help=f"Default: RELAY_PORT, or {USUAL_PORT} if it is free.")
    parser.add_argument("--folder", default=FOLDER, help="The folder of the data. Default: %(default)s")
    parser.add_argument("--write", metavar="FILE", help="Write the settings into this env file.")
    parser.add_argument(
        "--urls", action="store_true", help=f"The settings as {DATABASE_URL} and {TENANT_DATABASE_URL}."
    )
    parser.add_argument("--databases", type=int, default=DATABASES, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)  # the Worker's source, of a checkout
    parser.add_argument(
        "beside",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="A management command to run beside the relay, such as `runserver`. The relay ends with it.",
    )


def handle(command: Any, **options: Any) -> None:
    """Run the relay, and the command beside it.

    Raises RelayError if the relay ends by itself.
    """
    folder = Path(options["folder"]).absolute()
    if options["beside"]:
        project.manage_py()
    if options["write"]:
        _check_file(Path(options["write"]), urls=options["urls"])
    source = options["source"].absolute() if options["source"] else None
    relay = LocalRelay(
        folder,
        _port(options["port"]),
        databases=options["databases"],
        source=source,
        echo=source is not None,
        say=command.stdout.write,
    )
    try:
        with ended_by_signals(), relay:
            _hide(folder)
            _greet(command, relay, options["write"], urls=options["urls"])
            if options["beside"]:
                sys.exit(_run_beside(relay, options["beside"]))
            while relay.alive():
                time.sleep(0.5)
            raise _has_ended(relay)
    except Stopped:
        command.stdout.write("\nThe relay has ended. Its data are kept.")
    finally:
        relay.close()


def _port(asked_for: int | None) -> int:
    """Return a free port: the requested one, else the usual one, else any.

    Raises RelayError if the requested port can't be used.
    """
    if asked_for is not None or os.environ.get("RELAY_PORT"):
        port = asked_for if asked_for is not None else port_setting("RELAY_PORT", USUAL_PORT)
        if not 0 <= port < 65536:
            raise RelayError(f"--port is {port}. Set it to a port from 1 to 65535.")
        check_port(port, "another with --port")
        return port
    try:
        check_port(USUAL_PORT)
    except RelayError:
        return free_port()
    return USUAL_PORT


def _check_file(path: Path, *, urls: bool) -> None:
    """Raise RelayError for an env file whose settings are not a local relay's."""
    found = envfile.read(path)
    if found.get("RELAY_URL") and not is_local(found["RELAY_URL"]):
        raise RelayError(
            f"{path} names a deployed relay, so it was not changed. Give another file with --write."
        )
    for name in (DATABASE_URL, TENANT_DATABASE_URL) if urls else ():
        if is_other(found.get(name, "")):
            raise RelayError(
                f"{name} in {path} names another database, so it was not changed. Give another file with "
                "--write."
            )


def _hide(folder: Path) -> None:
    """Keep the data and the token out of git."""
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")


def _greet(command: Any, relay: LocalRelay, file: str | None, *, urls: bool) -> None:
    """Print where everything is; write the settings, or print them."""
    command.stdout.write(f"The relay listens on {relay.url}. Its data are in {relay.folder}.")
    settings = relay.settings(urls=urls)
    if file:
        changed = envfile.update(Path(file), settings)
        command.stdout.write(f"The settings {'were written to' if changed else 'are in'} {file}.")
    else:
        if _refresh(relay, Path(".env")):
            command.stdout.write(f".env now has the address {relay.url}.")
        lines = "".join(f"    {name}={value}\n" for name, value in settings.items())
        command.stdout.write(
            f"The settings for your project; `manage.py relay dev --write .env` writes them:\n\n{lines}"
        )
    command.stdout.write("Ctrl-C ends the relay.")
    command.stdout.flush()  # a program that reads it through a pipe waits for it


def _refresh(relay: LocalRelay, path: Path) -> bool:
    """Write the relay's current address to an env file that has its token.

    Returns True if the file changed.
    """
    own = envfile.read(path)
    changed = own.get("RELAY_TOKEN") == relay.token and relay.refresh(path)
    urls = relay.settings(urls=True)
    if relay.token in own.get(DATABASE_URL, "") and not is_other(own[DATABASE_URL]):
        changed |= envfile.update(path, urls, add=False)
    return changed


def _run_beside(relay: LocalRelay, words: list[str]) -> int:
    """Run a command of manage.py with the relay's settings; return its exit code."""
    line = project.manage_command(*words)
    process = subprocess.Popen(  # noqa: S603
        guarded(line),
        env=os.environ | relay.settings() | _urls_beside(relay),
        start_new_session=True,
    )
    try:
        while process.poll() is None:
            if not relay.alive():
                raise _has_ended(relay)
            time.sleep(0.2)
        return process.returncode
    finally:
        end_group(process.pid, grace=10)
        process.wait()


def _urls_beside(relay: LocalRelay) -> dict[str, str]:
    """Return the relay's databases as URLs.

    A variable in which the project names another database is left out.
    """
    return {
        name: value
        for name, value in relay.settings(urls=True).items()
        if not is_other(os.environ.get(name, ""))
    }


def _has_ended(relay: LocalRelay) -> RelayError:
    return RelayError(f"The local relay has ended. Run `manage.py relay dev` again.{relay.log_tail()}")
