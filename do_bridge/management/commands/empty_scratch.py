"""Empties scratch objects, from which tenants are made, of code that nobody runs any more."""

from django.core.management.base import CommandError
from django.db import DatabaseError

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.provision import fingerprint_once
from do_bridge.tenancy.lifecycle.template_objects import DAYS, empty_scratch, superseded


class Command(TenantsCommand):
    """Each state of the migrations has a scratch object of its own; that of this code is never touched."""

    help = "Empties the scratch objects of former code, from which tenants were made."

    def add_arguments(self, parser):
        parser.add_argument(
            "--days",
            type=int,
            default=DAYS,
            metavar="N",
            help="Those that nobody has used for so many days; %(default)s.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only list them.")

    def handle(self, *, days, dry_run, verbosity, **options):
        if days < 0:
            raise CommandError("--days is a number of days that have passed, 0 or more.")
        current = tenant_databases().scratch_alias(fingerprint_once())
        failed = []
        try:
            found = superseded(current, days)
        except DatabaseError as error:
            raise CommandError(f"The ledger can't be read: {error}") from error
        for alias in found:
            told = alias
            try:
                if not dry_run:
                    empty_scratch(alias)
                    told = f"{alias} is empty."
            except DatabaseError as error:
                failed.append(alias)
                told = self.style.ERROR(f"{alias}: {error}")
            if verbosity >= 1:
                self.stdout.write(told)
        if failed:
            raise CommandError(f"{len(failed)} of {len(found)} were not emptied. Run it again.")
        if verbosity >= 1 and not found:
            self.stdout.write("There is no scratch object of former code.")
