"""What concerns the relay Worker: `manage.py relay doctor`."""

from django.core.management.base import BaseCommand

from do_bridge.management.relay import doctor

# By name: a module with `help`, `add_arguments(parser)` and `handle(command, **options)`.
SUBCOMMANDS = {"doctor": doctor}


class Command(BaseCommand):
    """Hands on to a subcommand; none of them needs the project's checks or a database of its own."""

    help = "Examines the relay Worker and the databases behind it."
    requires_system_checks = []

    def add_arguments(self, parser):
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for name, module in SUBCOMMANDS.items():
            module.add_arguments(subparsers.add_parser(name, help=module.help, description=module.help))

    def handle(self, *, subcommand, **options):
        SUBCOMMANDS[subcommand].handle(self, **options)
