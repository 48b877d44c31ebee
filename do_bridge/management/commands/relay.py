"""The command relay, with the subcommand `manage.py relay doctor`."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.management.relay import deploy, doctor, status, studio
from do_bridge.relay import RelayError
from do_bridge.relay.commands import dev, logs, token

# Each module has `help`, `add_arguments(parser)` and `handle(command, **options)`.
SUBCOMMANDS = {
    "dev": dev,
    "deploy": deploy,
    "status": status,
    "doctor": doctor,
    "studio": studio,
    "token": token,
    "logs": logs,
}


class Command(BaseCommand):
    """Run a subcommand, without the project's system checks."""

    help = "Runs, deploys and examines the relay Worker."
    requires_system_checks = []

    def add_arguments(self, parser):
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for name, module in SUBCOMMANDS.items():
            module.add_arguments(subparsers.add_parser(name, help=module.help, description=module.help))

    def handle(self, *, subcommand, **options):
        try:
            SUBCOMMANDS[subcommand].handle(self, **options)
        except RelayError as error:
            raise CommandError(str(error)) from None
