"""`manage.py relay deploy`: deploy the relay and migrate the databases behind it.

The databases are those of the settings.
"""

import argparse

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from do_bridge.relay.commands import deploy

from . import placing
from .doctor import D1, OBJECTS

help = deploy.help


def add_arguments(parser):
    """Add the options of the subcommand.

    Two hidden ones are for the process that runs this project's part of a deployment.
    """
    deploy.add_arguments(parser)
    parser.add_argument("--migrate-behind", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--database-id", help=argparse.SUPPRESS)


def handle(command, *, migrate_behind, database_id, **options):
    """Run the deployment, or its last step.

    The last step runs in a process that has the new relay in its environment.
    """
    if not migrate_behind:
        deploy.handle(command, **options)
        return
    aliases = databases_behind(migrate_behind, database_id)
    if advice := placing.advice(migrate_behind, options["jurisdiction"]):
        raise CommandError(advice)
    if options["dry_run"]:
        return
    for alias in aliases:
        command.stdout.write(f"Migrating {alias}…")
        call_command("migrate", database=alias, interactive=False, verbosity=options["verbosity"])


def databases_behind(url, database_id):
    """Return the aliases to migrate, D1 first.

    Raises CommandError if one of them is elsewhere.
    """
    # The plain dictionary, because a tenant's alias has the settings of its template.
    own = {
        alias: settings
        for alias, settings in dict.items(connections.settings)
        if settings.get("ENGINE") in (D1, OBJECTS)
    }
    if not own:
        raise CommandError(
            f"DATABASES has no alias with an engine of do_bridge. Set ENGINE of an alias to {D1!r} "
            f"or {OBJECTS!r}."
        )
    for alias, settings in own.items():
        over_rest = settings["OPTIONS"].get("transport") == "rest"
        if not over_rest and settings["HOST"].rstrip("/") != url.rstrip("/"):
            raise CommandError(
                f"The alias {alias!r} does not use the relay of this deployment. Read its HOST from "
                "RELAY_URL in the environment."
            )
        if settings["ENGINE"] == D1 and settings["NAME"] != database_id:
            raise CommandError(
                f"The alias {alias!r} does not use the D1 database of this deployment. Read its NAME from "
                "CLOUDFLARE_DATABASE_ID in the environment."
            )
    return sorted(own, key=lambda alias: (own[alias]["ENGINE"] != D1, alias != "default"))
