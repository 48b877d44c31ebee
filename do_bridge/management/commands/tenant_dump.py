"""The command tenant_dump: write a tenant's database into a SQLite file."""

import os
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.driver.limits import LONGEST_LEASE
from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug
from do_bridge.tenancy.tenants import is_registered, no_such_tenant


class Command(TenantsCommand):
    """Read the tenant in one transaction, or warn if it takes too long."""

    help = "Writes a tenant's whole database into a new SQLite file."

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        parser.add_argument("file", type=Path, help="The SQLite file to write. It must not exist yet.")
        parser.add_argument(
            "--lease",
            type=float,
            default=LONGEST_LEASE,
            help=(
                "Longest time in seconds (0.1 to 25) for which writers of the tenant may have to wait. "
                "Default: %(default)s."
            ),
        )
        parser.add_argument(
            "--strict",
            action="store_true",
            help="Fail and write no file if the tenant can't be read in that time.",
        )

    def handle(self, *, slug, file, lease, strict, verbosity, **options):
        report = dump_to(self, slug, file, lease=lease, quiet=verbosity < 1, strict=strict)
        if verbosity >= 1:
            self.stdout.write(
                self.style.SUCCESS(f"{file}: {report.tables} tables, {report.rows} rows of tenant {slug}.")
            )


def dump_to(command, slug, file, *, lease=LONGEST_LEASE, quiet=False, strict=False, then=None):
    """Write the dump with a progress bar and return its DumpReport.

    Raises CommandError if it fails. `lease` is in seconds. With `strict`, a dump that could not be read in
    one transaction is deleted and an error. `then` is passed on to `dump_tenant`.
    """
    try:
        validate_slug(slug)
        if not is_registered(slug):
            raise CommandError(no_such_tenant(slug))
        # The raw stream, because Django's wrapper adds a newline after each step of the bar.
        terminal = not quiet and command.stderr.isatty()
        with tqdm(unit="row", file=command.stderr._out, disable=not terminal) as bar:
            report = dump_tenant(
                slug, file, lease=lease, on_page=lambda table, rows: bar.update(rows), then=then
            )
    except (InvalidSlug, DatabaseError, OSError) as error:
        raise CommandError(f"Tenant {slug!r} was not written to {os.fspath(file)!r}: {error}") from error
    if not report.tables:
        command.stderr.write(
            command.style.WARNING(f"The database of tenant {slug!r} has no tables, so the file has none.")
        )
    if not report.consistent:
        why = f"Reading tenant {slug!r} took longer than one transaction may take ({lease:g} s)."
        if strict:
            file.unlink(missing_ok=True)
            raise CommandError(
                f"{why} No file was written. Run the command again when the tenant is less busy. "
                f"`manage.py tenant_dump {slug} FILE` without --strict writes rows from different moments."
            )
        dangling = f" {report.dangling} rows refer to missing rows." if report.dangling else ""
        command.stderr.write(
            command.style.WARNING(f"{why} So the rows in {file} are from different moments.{dangling}")
        )
    return report
