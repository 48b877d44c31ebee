"""The command tenant_move: move a tenant's database into another jurisdiction."""

import sqlite3

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.management.base import TenantsCommand
from do_bridge.management.loads import one_line_with_notes
from do_bridge.management.placing import add_place_arguments
from do_bridge.tenancy import places
from do_bridge.tenancy.lifecycle.transfer.moving import move_tenant
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug


class Command(TenantsCommand):
    """Copy the object into the other jurisdiction, switch, then erase the old one."""

    help = (
        "Moves a tenant's database into another jurisdiction. Visitors wait, or get an error page, until the "
        "move has ended. Run it again after an interruption: it finishes what was begun."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        add_place_arguments(parser, is_required=True)

    def handle(self, *, slug, jurisdiction, location, verbosity, **options):
        terminal = verbosity > 0 and self.stderr.isatty()
        try:
            validate_slug(slug)
            place = places.place_of(jurisdiction, location)
            # The raw stream, because Django's wrapper adds a newline after each step of the bar.
            with tqdm(unit="row", file=self.stderr._out, disable=not terminal) as bar:
                report = move_tenant(
                    slug, place, on_start=bar.reset, on_piece=lambda table, rows: bar.update(rows)
                )
        except KeyboardInterrupt as error:
            raise CommandError(
                f"Interrupted. Tenant {slug!r} is usable, here or there. Run the command again to continue.",
                returncode=130,
            ) from error
        except (
            InvalidSlug,
            places.WrongPlace,
            CountsDiffer,
            UnfitFile,
            DatabaseError,
            OSError,
            sqlite3.Error,
        ) as error:
            raise CommandError(f"Tenant {slug!r} was not moved: {one_line_with_notes(error)}") from error
        if verbosity >= 1:
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug}: {self._text(report, place)}"))

    @staticmethod
    def _text(report, place):
        where = f"the jurisdiction {place.jurisdiction}" if place.jurisdiction else "no jurisdiction"
        if report.how == "there":
            kept = " A location can't change within a jurisdiction." if place.location else ""
            return f"it is in {where} already, nothing was done.{kept}"
        if report.how == "finished":
            return f"the interrupted move is finished, and the tenant is in {where}."
        return f"{report.tables} tables, {report.rows} rows moved, the tenant is in {where}."
