"""The command tenant_delete: delete a tenant and all its data."""

from functools import partial
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.models import ProtectedError, RestrictedError

from do_bridge.management.base import TenantsCommand
from do_bridge.management.caches import warn_of_caches
from do_bridge.tenancy.lifecycle.deletion import delete_tenant, is_known
from do_bridge.tenancy.lifecycle.provision import has_tables
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug

from .tenant_dump import dump_to


class Command(TenantsCommand):
    """Delete a tenant, so that its slug can be used again.

    It can be run again, after a failure and after a success. It also erases a database whose tenant is not
    registered.
    """

    help = "Deletes a tenant and all its data, or the data of a database without a tenant. Asks first."

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        parser.add_argument("--yes", action="store_true", help="Delete without asking.")
        parser.add_argument(
            "--dump", type=Path, metavar="FILE", help="First write the tenant into this new SQLite file."
        )

    def handle(self, *, slug, yes, dump, verbosity, **options):
        try:
            validate_slug(slug)
            known = is_known(slug)
            if not known and not has_tables(slug):
                raise CommandError(
                    f"Tenant {slug!r} does not exist, and its database is empty. Check the slug with "
                    "`manage.py list_tenants`."
                )
            if not yes:
                self._ask(slug, known)
            delete_tenant(slug, partial(self._dump, slug, dump, verbosity < 1) if dump else None)
        except (ProtectedError, RestrictedError) as error:
            raise CommandError(f"Tenant {slug!r} was not deleted: {error.args[0]}") from error
        except (InvalidSlug, DatabaseError) as error:
            raise CommandError(f"Tenant {slug!r} was not deleted: {error}. Run the command again.") from error
        if verbosity >= 1:
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug} was deleted."))
            warn_of_caches(self)

    def _dump(self, slug, file, quiet, then):
        def empty(connection):
            try:
                then(connection)
            except DatabaseError as error:
                # The dump itself is complete.
                raise CommandError(
                    f"Tenant {slug!r} was written to {file}, but was not deleted: {error}. Run the command "
                    "again with another file."
                ) from error

        dump_to(self, slug, file, quiet=quiet, strict=True, then=empty)

    def _ask(self, slug, known):
        whose = f"of tenant {slug!r}" if known else f"in the database of {slug!r}, which is not a tenant"
        self.stdout.write(f"This deletes all data {whose}. It cannot be undone.")
        try:
            answer = input("Type the slug to continue: ")
        except EOFError as error:
            raise CommandError(
                "Nothing was deleted, because standard input is closed. Use --yes to delete without asking."
            ) from error
        if answer != slug:
            raise CommandError("Nothing was deleted, because the answer is not the slug.")
