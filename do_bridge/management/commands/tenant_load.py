"""Makes a tenant of a SQLite file that tenant_dump wrote."""

import sqlite3
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy import schemas
from do_bridge.tenancy.catch_up import named
from do_bridge.tenancy.creation import add_row
from do_bridge.tenancy.fingerprint import lacking
from do_bridge.tenancy.lifecycle import Operation
from do_bridge.tenancy.load import TenantExists, UnfitFile, load_tenant
from do_bridge.tenancy.members import tenant_filled
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug
from do_bridge.tenancy.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    parse_fields,
    refuse_missing,
)


class Command(TenantsCommand):
    """The tenant's row in the directory is made last: nobody uses a tenant that is not whole."""

    help = "Makes a tenant of a SQLite file; refuses one whose database holds something."

    def add_arguments(self, parser):
        parser.add_argument("slug", help="1 to 63 lower-case letters, digits and inner hyphens")
        parser.add_argument("file", type=Path)
        parser.add_argument("--name", help="What people read; the slug if left out.")
        add_set_argument(parser)

    def handle(self, *, slug, file, name, verbosity, fields=(), **options):
        report = load_from(self, slug, file, name, fields=fields, quiet=verbosity < 1)
        if verbosity >= 1:
            told = f"Tenant {slug}: {report.tables} tables, {report.rows} rows loaded."
            self.stdout.write(self.style.SUCCESS(told))
        if report.left_out:
            names = ", ".join(report.left_out)
            warning = (
                f"Left out: {names}. The platform keeps these names for itself: rename them in the file."
            )
            self.stderr.write(self.style.WARNING(warning))
        self._warn(slug, schemas.migrations_of(report.fingerprint) or frozenset())

    def _warn(self, slug, applied):
        if missing := lacking(applied):
            self.stderr.write(
                self.style.WARNING(
                    f"Its schema lacks migrations of this code: {named(missing)}. "
                    f"Run: manage.py migrate --database tenant/{slug}"
                )
            )
        if refused := schemas.unknown(applied):
            self.stderr.write(
                self.style.WARNING(
                    f"It has migrations that this code does not have: {named(refused)}. "
                    "DO_BRIDGE['REQUIRE_EXACT_SCHEMA'] refuses such a database. Run the code that has them."
                )
            )


def load_from(command, slug, file, name=None, *, source=None, fields=(), quiet=False):
    """Make a tenant of the file, with a progress bar; return the LoadReport. Raises CommandError.

    `source` is the slug of the tenant that the file was made of just now, whose members come along.
    """

    def register(lease):
        add_row(lease, name or "", values)
        tenant_filled.send(sender=type(command), source=source, target=slug)

    try:
        validate_slug(slug)
        values = parse_fields(fields)
        refuse_missing(slug, values)
        terminal = not quiet and command.stderr.isatty()
        with tqdm(unit="row", file=command.stderr._out, disable=not terminal) as bar:
            return load_tenant(
                slug,
                file,
                operation=Operation.COPY if source else Operation.LOAD,
                on_piece=lambda table, rows: bar.update(rows),
                then=register,
            )
    except (
        InvalidSlug,
        FieldsMissing,
        WrongField,
        UnfitFile,
        TenantExists,
        DatabaseError,
        OSError,
        sqlite3.Error,
    ) as error:
        raise CommandError(f"Tenant {slug!r} was not loaded: {error}") from error
