"""`manage.py relay status`: compare the relay with the installed package."""

import json
import os
from dataclasses import replace

from django.core.management.base import CommandError
from django.db import connections

from do_bridge.relay.comparing import compare

from . import placing
from .doctor import D1, OBJECTS

help = "Show the versions of the package and of the relay. Exit with 1 if one of them is behind."


def add_arguments(parser):
    """Add the subcommand's own options."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--url", help="The relay's address. Default: that of DATABASES, or RELAY_URL.")


def handle(command, **options):
    """Print both sides; raise CommandError if something has to be done."""
    found = compare(options["url"] or _configured_url())
    if not found.advice:
        found = replace(found, advice=placing.advice(found.url, found.relay.jurisdiction))
    if options["json"]:
        command.stdout.write(json.dumps(found.as_dict(), indent=2))
    else:
        rows = found.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [text.ljust(width) for text, width in zip(row[:3], widths, strict=True)]
            command.stdout.write("  ".join([*cells, row[3]]).rstrip())
    if found.advice:
        raise CommandError(found.advice)


def _configured_url():
    """Return the relay's address from DATABASES or the environment.

    Raises CommandError if neither has one.
    """
    for settings in dict.values(connections.settings):
        over_rest = settings.get("OPTIONS", {}).get("transport") == "rest"
        if settings.get("ENGINE") in (D1, OBJECTS) and settings.get("HOST") and not over_rest:
            return settings["HOST"]
    if os.environ.get("RELAY_URL"):
        return os.environ["RELAY_URL"]
    raise CommandError("No relay is configured. Set RELAY_URL, or name one with --url.")
