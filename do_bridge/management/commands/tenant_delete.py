"""Deletes a tenant: its database's content, its members' places, its row."""

from functools import partial
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.models import ProtectedError, RestrictedError

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.lifecycle.deletion import delete_tenant, is_known
from do_bridge.tenancy.lifecycle.provision import has_tables
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug

from .tenant_dump import dump_to


class Command(TenantsCommand):
    """Can be run again after a failure in the middle; the slug is free afterwards.

    It empties a database without a tenant, too: whatever made the tables, the slug is free afterwards.
    """

    help = "Deletes a tenant, or what a database without a tenant holds; asks first."

    def add_arguments(self, parser):
        parser.add_argument("slug")
        parser.add_argument("--yes", action="store_true", help="Don't ask.")
        parser.add_argument(
            "--dump", type=Path, metavar="FILE", help="Write the tenant into a new SQLite file first."
        )

    def handle(self, *, slug, yes, dump, verbosity, **options):
        try:
            validate_slug(slug)
            known = is_known(slug)
            if not known and not has_tables(slug):
                raise CommandError(f"There is no tenant {slug!r}.")
            if not yes:
                self._ask(slug, known)
            delete_tenant(slug, partial(self._dump, slug, dump, verbosity < 1) if dump else None)
        except (ProtectedError, RestrictedError) as error:
            raise CommandError(f"Tenant {slug!r} is not deleted: {error.args[0]}") from error
        except (InvalidSlug, DatabaseError) as error:
            raise CommandError(f"Tenant {slug!r} is not deleted: {error}. Run the command again.") from error
        if verbosity >= 1:
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug} is deleted."))

    def _dump(self, slug, file, quiet, then):
        def empty(connection):
            try:
                then(connection)
            except DatabaseError as error:
                # Not the dump's: that is whole.
                raise CommandError(
                    f"Tenant {slug!r} is in {file}, but not deleted: {error}. Run the command again, with "
                    "another file."
                ) from error

        dump_to(self, slug, file, quiet=quiet, strict=True, then=empty)

    def _ask(self, slug, known):
        whose = f"the tenant {slug!r}" if known else f"the database of {slug!r}, which is no tenant,"
        self.stdout.write(f"This deletes everything that {whose} holds, for good.")
        try:
            answer = input("Type its slug to go on: ")
        except EOFError as error:
            raise CommandError("Nobody is there to be asked: say --yes.") from error
        if answer != slug:
            raise CommandError("Nothing was deleted.")
