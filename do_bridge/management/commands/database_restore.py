"""The command database_restore: take a D1 database back to a moment."""

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from do_bridge import driver
from do_bridge.management.moments import add_moment, shown
from do_bridge.management.time_travel import required_time_travel
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.history.following import (
    keep_places,
    made_again_since,
    moved_since,
    read_tenants,
)
from do_bridge.tenancy.lifecycle.signals import shared_restored
from do_bridge.tenancy.places import NONE, default_jurisdiction
from do_bridge.tenancy.tenants import lookup


class Command(BaseCommand):
    """Restore by Cloudflare's Time Travel, then say what has to follow."""

    help = (
        "Takes a D1 database back to a moment of the last 30 days, by Cloudflare's Time Travel. Everything "
        "that was written since is gone, and a bookmark is printed that undoes it."
    )
    requires_system_checks = ()

    def add_arguments(self, parser):
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="The alias. Default: %(default)s.")
        target = parser.add_mutually_exclusive_group(required=True)
        add_moment(target, "--to", "Go back to this moment.")
        target.add_argument("--bookmark", help="Go back to this bookmark.")
        parser.add_argument(
            "--noinput", "--no-input", action="store_false", dest="interactive", help="Don't ask."
        )

    def handle(self, *, database, to, bookmark, interactive, **options):
        travel = required_time_travel(database)
        try:
            moment = f"the bookmark {bookmark}" if bookmark else shown(to)
            bookmark = bookmark or travel.bookmark(to)
            undo = travel.bookmark()
        except driver.Error as error:
            raise CommandError(f"{database!r} was not restored. {error}.") from error
        self._ask(database, moment, interactive)
        has_tenants = tenant_databases() is not None and database == conf("DIRECTORY_ALIAS")
        before = _tenants() if has_tenants else None
        # Printed before, in case this process does not live to see the answer.
        self._print_undo(database, undo)
        try:
            restored = travel.restore(bookmark)
        except driver.Error as error:
            unknown = error.effect == "unknown"
            again = " Run the command again with the same bookmark, which does no harm." if unknown else ""
            raise CommandError(f"{database!r} was not restored. {str(error).rstrip('.')}.{again}") from error
        connections[database].close()
        self.stdout.write(self.style.SUCCESS(f"{database!r} was restored."))
        self._print_undo(database, restored.previous)
        if has_tenants:
            self._follow(before)

    def _ask(self, database, moment, interactive):
        text = f"This takes {database!r} back to {moment}. What was written since is gone."
        self.stdout.write(text)
        if not interactive:
            return
        try:
            answer = input(f"Type {database} to continue: ")
        except EOFError as error:
            raise CommandError(
                "Nothing was restored, because standard input is closed. Use --noinput to restore without "
                "asking."
            ) from error
        if answer != database:
            raise CommandError("Nothing was restored, because the answer is not the alias.")

    def _print_undo(self, database, bookmark):
        self.stdout.write(
            f"To undo this: manage.py database_restore --database {database} --bookmark {bookmark}"
        )

    def _follow(self, before):
        """Let the tenants follow, as far as that can be done here, and print the rest."""
        lookup.forget()
        after = _tenants()
        if before is not None and after is not None:
            self._keep_places(before, after)
        try:
            shared_restored.send(sender=type(self))
        except DatabaseError as error:
            self._warn(
                f"The copies of members were not flagged ({error}). Run `manage.py migrate`, then `manage.py "
                "sync_members`."
            )
        for slug in sorted({*(before or ())} - {*(after or ())}):
            self._warn(
                f"Tenant {slug!r} was created since: its database is there, its row is not. Run `manage.py "
                f"create_tenant --adopt {slug}{_place_option(before[slug])}`, and then, to delete it, "
                f"`manage.py tenant_delete {slug}`."
            )
        for slug in sorted({*(after or ())} - {*(before or ())}):
            self._warn(
                f"Tenant {slug!r} was deleted since: its row is back, its data is not. Run `manage.py "
                f"tenant_delete {slug}`, or `manage.py tenant_restore {slug} --to TIME`."
            )
        if before is None or after is None:
            self._warn(
                "The list of tenants could not be read. Compare `manage.py list_tenants` with your records: "
                "tenants that were created since have a database without a row."
            )
        self._warn(
            "Next: `manage.py migrate`, if this code is newer than the database. `manage.py list_tenants`, "
            "which shows operations that were interrupted at that moment. `manage.py migrate --database "
            "tenant`, which corrects the ledger. The copies of members follow at each tenant's next use, or "
            "at once by `manage.py sync_members`. Passwords and sessions are those of that moment."
        )

    def _keep_places(self, before, after):
        try:
            moved = keep_places(before, after)
        except DatabaseError as error:
            moved = []
            self._warn(
                f"D1 has these tenants in places that they have left, and could not be corrected ({error}): "
                f"{', '.join(moved_since(before, after))}. Set their places in the ledger before any process "
                "uses or moves them."
            )
        for slug in moved:
            place = before[slug].place
            self._warn(f"Tenant {slug!r} was moved since: D1 names its place of now again, {place}.")
        for slug in made_again_since(before, after):
            self._warn(
                f"Tenant {slug!r} was deleted and created again since: its row is that of the former tenant, "
                f"its database that of the latter. Correct the row, or run `manage.py tenant_delete {slug}`."
            )

    def _warn(self, text):
        self.stderr.write(self.style.WARNING(text))


def _tenants():
    """Return the result of `read_tenants`, or None if D1 can't be read."""
    try:
        return read_tenants()
    except DatabaseError:
        return None


def _place_option(state):
    """Return the option for a jurisdiction that is not the default one."""
    if state is None or state.jurisdiction == default_jurisdiction():
        return ""
    return f" --jurisdiction {state.jurisdiction or NONE}"
