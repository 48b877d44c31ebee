"""`relay logs`: show what the deployed relay logs, as it happens."""

from __future__ import annotations

import argparse
import subprocess
from typing import Any

from do_bridge.relay.commands.deploy import add_file_argument
from do_bridge.relay.errors import RelayError
from do_bridge.relay.settings import NAME, Settings
from do_bridge.relay.terminal import Stopped, ended_by_signals
from do_bridge.relay.wrangler import Wrangler

help = "Show the requests and errors of the deployed relay until Ctrl-C."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own options."""
    add_file_argument(parser)
    parser.add_argument("--name", help=f"The name of the Worker. Default: RELAY_NAME, or {NAME}")
    parser.add_argument("--status", choices=("ok", "error", "canceled"), help="Only requests that ended so.")
    parser.add_argument("--search", metavar="TEXT", help="Only requests that logged this text.")
    parser.add_argument("--json", action="store_true", help="One JSON object for each request.")


def handle(command: Any, **options: Any) -> None:
    """Run `wrangler tail` until it or this process ends."""
    settings = Settings(options["env_file"])
    settings.check_account()
    words = ["tail", options["name"] or settings.get("RELAY_NAME", NAME)]
    words += ["--format", "json" if options["json"] else "pretty"]
    for name in ("status", "search"):
        if options[name]:
            words += [f"--{name}", options[name]]
    with Wrangler(settings, command.stdout.write) as wrangler:
        line = wrangler.command(*words)
        try:
            with ended_by_signals():
                process = subprocess.Popen(  # noqa: S603
                    line, cwd=wrangler.folder, env=wrangler.environment(), stdin=subprocess.DEVNULL
                )
                try:
                    code = process.wait()
                finally:
                    process.terminate()
                    process.wait()
        except Stopped:
            return
    if code != 0:
        raise RelayError(
            "wrangler could not follow the relay's log. The reason is above. Check the name with "
            "`manage.py relay logs --name`, and CLOUDFLARE_API_TOKEN."
        )
