"""What concerns the relay Worker: `manage.py relay dev`, `deploy`, `status`, `doctor` and others."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.management.relay import deploy, doctor, status
from do_bridge.relay import RelayError
from do_bridge.relay.commands import dev, logs, token

# By name: a module with `help`, `add_arguments(parser)` and `handle(command, **options)`.
SUBCOMMANDS = {
    "dev": dev,
    "deploy": deploy,
    "status": status,
    "doctor": doctor,
    "token": token,
    "logs": logs,
}


class Command(BaseCommand):
    """Hands on to a subcommand; none of them needs the project's checks or a database of its own."""

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
