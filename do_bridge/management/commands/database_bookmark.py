"""The command database_bookmark: print a bookmark of a D1 database's history."""

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from do_bridge import driver
from do_bridge.management.moments import add_moment, shown
from do_bridge.management.time_travel import required_time_travel


class Command(BaseCommand):
    """Print what `database_restore --bookmark B` goes back to."""

    help = (
        "Prints the bookmark of a D1 database's present state, or of its state at a moment of the last 30 "
        "days, by Cloudflare's Time Travel."
    )
    requires_system_checks = ()

    def add_arguments(self, parser):
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="The alias. Default: %(default)s.")
        add_moment(parser, "--at", "The moment.")

    def handle(self, *, database, at, verbosity, **options):
        try:
            bookmark = required_time_travel(database).bookmark(at)
        except driver.Error as error:
            raise CommandError(f"No bookmark of {database!r} was taken. {error}.") from error
        if verbosity >= 1 and at is not None:
            self.stderr.write(f"The moment is {shown(at)}.")
        self.stdout.write(bookmark)
