"""The command tenant_copy: copy a tenant and its members into a new tenant."""

import tempfile
from pathlib import Path

from django.core.management.base import CommandError

from do_bridge.driver.limits import LONGEST_LEASE
from do_bridge.management.base import TenantsCommand
from do_bridge.management.placing import add_place_arguments, named_place
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    parse_fields,
    refuse_missing,
)
from do_bridge.tenancy.places import Place, WrongPlace
from do_bridge.tenancy.slugs import InvalidSlug, tenant_alias, validate_new_slug

from .tenant_dump import dump_to
from .tenant_load import load_from


class Command(TenantsCommand):
    """Copy through a temporary SQLite file.

    So a tenant of any size fits into memory.
    """

    help = "Copies a tenant's database and its members into a new tenant."

    def add_arguments(self, parser):
        parser.add_argument("source", help="The slug of the existing tenant.")
        parser.add_argument("target", help="The slug of the new tenant.")
        parser.add_argument("--name", help="The displayed name. Default: the new slug.")
        add_set_argument(parser)
        add_place_arguments(parser, default="the source's")
        parser.add_argument(
            "--lease",
            type=float,
            default=LONGEST_LEASE,
            help=(
                "Longest time in seconds (0.1 to 25) for which writers of the source may have to wait. "
                "Default: %(default)s."
            ),
        )

    def handle(self, *, source, target, name, lease, verbosity, fields=(), **options):
        quiet = verbosity < 1
        try:
            validate_new_slug(target)
            refuse_missing(target, parse_fields(fields))
            place = named_place(options)
        except (InvalidSlug, FieldsMissing, WrongField, WrongPlace) as error:
            raise CommandError(str(error)) from error
        with tempfile.TemporaryDirectory(prefix="tenant-copy-") as folder:
            file = Path(folder) / "tenant.sqlite3"
            # Rows from different moments would make a tenant that never existed.
            dump = dump_to(self, source, file, lease=lease, quiet=quiet, strict=True)
            if not dump.tables:
                raise CommandError(
                    f"Tenant {source!r} was not copied: its database has no tables. "
                    f"Run `manage.py migrate --database {tenant_alias(source)}` first."
                )
            if place is None:
                row = leases.look(source)
                place = Place(row.jurisdiction, row.location)
            work = {"source": source, "fields": fields, "quiet": quiet, "place": place}
            report = load_from(self, target, file, name, **work)
        if not quiet:
            text = f"Tenant {target}: {report.tables} tables, {report.rows} rows copied from {source}."
            self.stdout.write(self.style.SUCCESS(text))
