"""`relay deploy`: deploy the relay to Cloudflare and migrate the project."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from do_bridge.driver.places import D1_JURISDICTIONS, D1_LOCATIONS
from do_bridge.relay import project, tokens
from do_bridge.relay.deploying import Deployment
from do_bridge.relay.errors import RelayError
from do_bridge.relay.settings import NAME, Settings
from do_bridge.relay.wrangler import Wrangler
from do_bridge.version import __version__

help = "Deploy the relay to your Cloudflare account, and migrate this project's databases."


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the env file of a deployment."""
    parser.add_argument(
        "--env-file", metavar="FILE", help="The env file of the deployed relay. Default: .env"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own options."""
    add_file_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="Show the plan and change nothing.")
    parser.add_argument("--name", help=f"The name of the Worker and of its D1 database. Default: {NAME}")
    parser.add_argument("--location", choices=D1_LOCATIONS, help="Where D1 and new objects are created.")
    parser.add_argument(
        "--jurisdiction",
        choices=D1_JURISDICTIONS,
        help="Where D1 and all objects must stay. The relay serves no others. Final.",
    )
    parser.add_argument("--domain", help="A domain of the account for the relay, such as relay.example.com.")
    parser.add_argument("--no-migrate", action="store_true", help="Deploy the relay alone.")
    parser.add_argument("--allow-older", action="store_true", help="Replace a newer relay.")


def handle(command: Any, **options: Any) -> None:
    """Run the plan, or show it; raise RelayError if a step fails."""
    settings = Settings(options["env_file"])
    chosen = {
        f"RELAY_{name.upper()}": options[name]
        for name in ("name", "location", "jurisdiction", "domain")
        if options[name]
    }
    settings.check_deployable(account=not options["dry_run"])
    _check_name(settings, chosen)
    migrates = not options["no_migrate"]
    if migrates:
        project.manage_py()
    with Wrangler(settings, command.stdout.write) as wrangler:
        deployment = Deployment(
            settings, wrangler, chosen=chosen, migrates=migrates, older=options["allow_older"]
        )
        if options["dry_run"]:
            show(command, deployment)
        else:
            with settings.alone():
                carry_out(command, deployment)


def _check_name(settings: Settings, chosen: Mapping[str, str]) -> None:
    """Raise RelayError if the env file belongs to a relay of another name."""
    own = settings.get("RELAY_NAME", NAME)
    if settings.get("RELAY_URL") and chosen.get("RELAY_NAME", own) != own:
        raise RelayError(
            f"{settings.file} belongs to the relay {own}. Give each relay an env file of its own with "
            "--env-file."
        )


def show(command: Any, deployment: Deployment) -> None:
    """Print the plan and wrangler's report of the upload, without deploying.

    It reaches nothing but the package registry.
    """
    command.stdout.write(f"Plan for the relay {deployment.name} (do_bridge {__version__}):")
    for number, step in enumerate(deployment.plan(), 1):
        command.stdout.write(f"  {number}. {step.title}.")
    report = deployment.wrangler.dry_run(deployment.configuration())
    lines = [line for line in report.splitlines() if line.startswith(("Total Upload", "env."))]
    secrets = len(tokens.as_secrets({}))
    command.stdout.write(f"wrangler accepts it, with {secrets} secrets that it uploads beside it:")
    for line in lines:
        command.stdout.write(f"  {' '.join(line.split())}")
    command.stdout.write("Nothing was changed.")


def carry_out(command: Any, deployment: Deployment) -> None:
    """Run each step, and print what Django's hosts need."""
    for number, step in enumerate(deployment.plan(), 1):
        command.stdout.write(f"{number}. {step.title}…")
        command.stdout.flush()
        step.run()
    migrated = "The databases are up to date." if deployment.migrates else "Migrate your project now."
    names = {"RELAY_URL": deployment.url, "CLOUDFLARE_DATABASE_ID": deployment.database_id}
    if deployment.jurisdiction:
        names["RELAY_JURISDICTION"] = deployment.jurisdiction
    listing = "\n".join(f"    {name}={value}" for name, value in names.items())
    command.stdout.write(
        f"Deployed: {deployment.url} runs the relay of do_bridge {__version__}. {migrated}\n"
        "Set these wherever Django runs:\n\n"
        f"{listing}\n\n"
        f"and RELAY_TOKEN, which is in {deployment.settings.file} if your environment has none."
    )
