"""Copies a tenant, with its members, into a new one."""

import tempfile
from pathlib import Path

from django.core.management.base import CommandError

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.lifecycle.dump import LEASE
from do_bridge.tenancy.lifecycle.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    parse_fields,
    refuse_missing,
)
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug

from .tenant_dump import dump_to
from .tenant_load import load_from


class Command(TenantsCommand):
    """By way of a temporary SQLite file: neither side holds the tenant in memory."""

    help = "Copies a tenant's database and its members into a new tenant."

    def add_arguments(self, parser):
        parser.add_argument("source", help="the slug of the tenant that there is")
        parser.add_argument("target", help="the slug of the new one")
        parser.add_argument("--name", help="What people read; the new slug if left out.")
        add_set_argument(parser)
        parser.add_argument(
            "--lease",
            type=float,
            default=LEASE,
            help="seconds (0.1 to 25) for which the source may be held still; default %(default)s",
        )

    def handle(self, *, source, target, name, lease, verbosity, fields=(), **options):
        quiet = verbosity < 1
        try:
            validate_slug(target)
            refuse_missing(target, parse_fields(fields))
        except (InvalidSlug, FieldsMissing, WrongField) as error:
            raise CommandError(str(error)) from error
        with tempfile.TemporaryDirectory(prefix="tenant-copy-") as folder:
            file = Path(folder) / "tenant.sqlite3"
            # A copy whose rows are of several moments would be a tenant that never was.
            dump_to(self, source, file, lease=lease, quiet=quiet, strict=True)
            report = load_from(self, target, file, name, source=source, fields=fields, quiet=quiet)
        if not quiet:
            told = f"Tenant {target}: {report.tables} tables, {report.rows} rows copied from {source}."
            self.stdout.write(self.style.SUCCESS(told))
