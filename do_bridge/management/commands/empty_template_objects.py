"""The command empty_template_objects: empty the template objects of former code."""

from django.core.management.base import CommandError
from django.db import DatabaseError

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.provision import fingerprint_once
from do_bridge.tenancy.lifecycle.template_objects import DAYS, empty_template_object, superseded


class Command(TenantsCommand):
    """Empty unused template objects; the one for this code's migrations is kept."""

    help = (
        "Empties template objects of former code. A template object holds the migrated schema from which "
        "tenants are created, one for each state of the migrations."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--days",
            type=int,
            default=DAYS,
            metavar="N",
            help="Empty those that have not been used for N days. Default: %(default)s.",
        )
        parser.add_argument("--dry-run", action="store_true", help="List them and empty nothing.")

    def handle(self, *, days, dry_run, verbosity, **options):
        if days < 0:
            raise CommandError("--days must be 0 or more.")
        current = tenant_databases().template_object_alias(fingerprint_once())
        failed = []
        try:
            found = superseded(current, days)
        except DatabaseError as error:
            raise CommandError(f"The ledger in D1 can't be read: {error}") from error
        for alias in found:
            text = alias
            try:
                if not dry_run:
                    empty_template_object(alias)
                    text = f"{alias}: emptied"
            except DatabaseError as error:
                failed.append(alias)
                text = self.style.ERROR(f"{alias}: {error}")
            if verbosity >= 1:
                self.stdout.write(text)
        if failed:
            raise CommandError(
                f"{len(failed)} of {len(found)} template objects were not emptied. Run the command again."
            )
        if verbosity >= 1 and not found:
            self.stdout.write("No template objects to empty.")
