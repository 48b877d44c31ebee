"""The command relay, with the subcommand `manage.py relay doctor`."""

from django.core.management.base import BaseCommand

from do_bridge.management.relay import doctor

# Each module has `help`, `add_arguments(parser)` and `handle(command, **options)`.
SUBCOMMANDS = {"doctor": doctor}


class Command(BaseCommand):
    """Run a subcommand, without the project's system checks."""

    help = "Checks the relay Worker and its databases. `manage.py relay doctor` runs all checks."
    requires_system_checks = []

    def add_arguments(self, parser):
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for name, module in SUBCOMMANDS.items():
            module.add_arguments(subparsers.add_parser(name, help=module.help, description=module.help))

    def handle(self, *, subcommand, **options):
        SUBCOMMANDS[subcommand].handle(self, **options)
