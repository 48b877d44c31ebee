"""Writes a tenant into a SQLite file."""

import os
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.lifecycle.dump import LEASE, dump_tenant
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug
from do_bridge.tenancy.tenants import is_registered


class Command(TenantsCommand):
    """Reads in one transaction for as long as its lease lasts, and says so where that was too short."""

    help = "Writes everything that a tenant's database holds into a new SQLite file."

    def add_arguments(self, parser):
        parser.add_argument("slug")
        parser.add_argument("file", type=Path, help="a new file; sqlite3 opens it")
        parser.add_argument(
            "--lease",
            type=float,
            default=LEASE,
            help="seconds (0.1 to 25) for which the tenant may be held still; default %(default)s",
        )
        parser.add_argument(
            "--strict", action="store_true", help="Fail, and leave no file, where that is too short."
        )

    def handle(self, *, slug, file, lease, strict, verbosity, **options):
        report = dump_to(self, slug, file, lease=lease, quiet=verbosity < 1, strict=strict)
        if verbosity >= 1:
            self.stdout.write(
                self.style.SUCCESS(f"{file}: {report.tables} tables, {report.rows} rows of tenant {slug}.")
            )


def dump_to(command, slug, file, *, lease=LEASE, quiet=False, strict=False, then=None):
    """Write the dump with a progress bar; return its DumpReport, raise CommandError for what fails.

    `then` is as `dump_tenant` takes it.
    """
    try:
        validate_slug(slug)
        if not is_registered(slug):
            raise CommandError(f"There is no tenant {slug!r}.")
        # The stream itself: Django's wrapper would end each step of the bar with a new line.
        terminal = not quiet and command.stderr.isatty()
        with tqdm(unit="row", file=command.stderr._out, disable=not terminal) as bar:
            report = dump_tenant(
                slug, file, lease=lease, on_page=lambda table, rows: bar.update(rows), then=then
            )
    except (InvalidSlug, DatabaseError, OSError) as error:
        raise CommandError(f"Tenant {slug!r} was not written to {os.fspath(file)!r}: {error}") from error
    if not report.consistent:
        told = (
            f"The tenant could not be read in one transaction of at most {lease:g} s: the rows of {file} "
            "are not those of one moment"
        )
        if strict:
            file.unlink(missing_ok=True)
            raise CommandError(f"{told}, so it was removed.")
        dangling = f", and {report.dangling} point nowhere by their foreign keys" if report.dangling else ""
        command.stderr.write(command.style.WARNING(f"{told}{dangling}."))
    return report
