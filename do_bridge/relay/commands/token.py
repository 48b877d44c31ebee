"""`relay token rotate`: replace a token of the deployed relay.

The relay accepts Django's requests throughout.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from do_bridge.relay import tokens
from do_bridge.relay.commands.deploy import add_file_argument
from do_bridge.relay.deploying import Deployment
from do_bridge.relay.errors import RelayError
from do_bridge.relay.settings import Settings
from do_bridge.relay.wrangler import Wrangler

help = "Replace a token of the deployed relay in three steps, without downtime."
KINDS = {"all": "RELAY_TOKEN", "tenants": "RELAY_TOKEN_TENANTS", "directory": "RELAY_TOKEN_DIRECTORY"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own options."""
    parser.add_argument("action", choices=["rotate"])
    add_file_argument(parser)
    parser.add_argument(
        "--kind",
        choices=sorted(KINDS),
        default="all",
        help="The token: for all databases, for the tenants' objects, or for D1. Default: all",
    )
    parser.add_argument("--finish", action="store_true", help="Step 3: let the old token open nothing more.")
    parser.add_argument(
        "--leaked",
        action="store_true",
        help="Let the old token open nothing from now on, at the cost of downtime.",
    )


def handle(command: Any, **options: Any) -> None:
    """Do the step that is next; raise RelayError if it cannot be done."""
    settings = Settings(options["env_file"])
    name = KINDS[options["kind"]]
    previous = f"{name}_PREVIOUS"
    with settings.alone():
        settings.check_deployable()
        _check_source(settings, name, previous)
        _next_step(command, settings, name, previous, options)


def _next_step(
    command: Any, settings: Settings, name: str, previous: str, options: Mapping[str, Any]
) -> None:
    if options["finish"]:
        _finish(command, settings, name, previous)
    elif settings.get(previous) and not options["leaked"]:
        command.stdout.write(f"{previous} is set, so a rotation of {name} has begun. Repeating step 1.")
        _upload(command, settings)
        _explain(command, settings, name, options["kind"])
    else:
        old = "" if options["leaked"] else settings.get(name)
        # Kept before the upload, so that no token is on the relay alone.
        settings.keep({previous: old, name: tokens.new_token()})
        command.stdout.write(f"Step 1 of 3: {settings.file} has a new {name}. Uploading it…")
        _upload(command, settings)
        _explain(command, settings, name, options["kind"])


def _check_source(settings: Settings, name: str, previous: str) -> None:
    if not settings.get("RELAY_URL"):
        raise RelayError(
            "RELAY_URL is not set, so no relay has the token. Run `manage.py relay deploy` first."
        )
    if not settings.get(name):
        raise RelayError(f"{name} is not set, so there is nothing to replace. Set it, and deploy the relay.")
    if not settings.come_from_file((name, previous)):
        raise RelayError(
            f"{name} comes from the environment and not from {settings.file}, where a new one would be kept. "
            "Name the file that has it with --env-file, or change it where it is set, in three steps: "
            "https://do-bridge.readthedocs.io/en/latest/howto/deploy.html#change-a-token"
        )


def _finish(command: Any, settings: Settings, name: str, previous: str) -> None:
    if not settings.get(previous):
        raise RelayError(
            f"{previous} is empty, so no rotation of {name} has begun. Begin one without --finish."
        )
    settings.keep({previous: ""})
    command.stdout.write(f"Step 3 of 3: the old {name} is taken away. Uploading…")
    _upload(command, settings)
    command.stdout.write("Done. Sessions that the old token had opened end within about two minutes.")


def _upload(command: Any, settings: Settings) -> None:
    command.stdout.flush()
    with Wrangler(settings, command.stdout.write) as wrangler:
        deployment = Deployment(settings, wrangler, migrates=False)
        for step in (deployment.compare, deployment.find_database, deployment.upload, deployment.wait):
            step()


def _explain(command: Any, settings: Settings, name: str, kind: str) -> None:
    given = f" --env-file {settings.file}" if settings.given else ""
    chosen = f" --kind {kind}" if kind != "all" else ""
    accepted = "both tokens" if settings.get(f"{name}_PREVIOUS") else "only the new token"
    command.stdout.write(
        f"The relay accepts {accepted}.\n"
        f"Step 2 of 3: give each of Django's hosts the new {name} from {settings.file}, and restart it.\n"
    )
    if settings.get(f"{name}_PREVIOUS"):
        command.stdout.write(f"Then run: manage.py relay token rotate --finish{chosen}{given}")
