"""The command tenant_load: create a tenant from a SQLite file."""

import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.management.base import TenantsCommand
from do_bridge.management.caches import warn_of_caches
from do_bridge.management.loads import (
    add_dry_run,
    interrupted,
    one_line_with_notes,
    warn_left_out,
    write_counts,
)
from do_bridge.management.placing import add_place_arguments, named_place
from do_bridge.tenancy.lifecycle.creation import add_row
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.provision import has_tables
from do_bridge.tenancy.lifecycle.signals import tenant_filled
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.lifecycle.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    parse_fields,
    refuse_missing,
)
from do_bridge.tenancy.lifecycle.transfer.load import TenantExists, load_tenant
from do_bridge.tenancy.migrate.catch_up import named
from do_bridge.tenancy.places import Place, WrongPlace, named_in_fields
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import lacking
from do_bridge.tenancy.slugs import InvalidSlug, validate_new_slug, validate_slug
from do_bridge.tenancy.tenants import is_registered

from .tenant_dump import dump_to


class Command(TenantsCommand):
    """Create a tenant from a file.

    Register it last, so that nobody uses an incomplete tenant.
    """

    help = (
        "Creates a tenant from a SQLite file: one that tenant_dump wrote, or a database file of Django's "
        "sqlite3 engine. The tenant's database must be empty. "
        "After an interruption, run it again to continue."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", help="1 to 63 lower-case letters, digits and inner hyphens.")
        parser.add_argument("file", type=Path, help="The SQLite file.")
        parser.add_argument("--name", help="The displayed name. Default: the slug.")
        add_set_argument(parser)
        add_place_arguments(parser)
        add_dry_run(parser)
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Replace all data of an existing tenant, but not its members. Asks first.",
        )
        parser.add_argument("--yes", action="store_true", help="With --replace: don't ask.")

    def handle(self, *, slug, file, name, verbosity, fields=(), dry_run=False, **options):
        if options.get("replace"):
            if options.get("jurisdiction") or options.get("location"):
                raise CommandError(
                    "--replace keeps a tenant where it is. Leave out --jurisdiction and --location, or move "
                    f"the tenant with `manage.py tenant_move {slug} --jurisdiction NAME`."
                )
            report = self._replace(slug, file, verbosity < 1, dry_run=dry_run, yes=options.get("yes"))
        else:
            with _told(slug):
                place = named_place(options)
            work = {"fields": fields, "quiet": verbosity < 1, "dry_run": dry_run, "place": place}
            report = load_from(self, slug, file, name, **work)
        if verbosity >= 1:
            write_counts(self, report, f"Tenant {slug}", dry_run=dry_run)
            self._write_rows_left_out(report)
            if options.get("replace") and not dry_run:
                warn_of_caches(self)
        warn_left_out(self, report)
        if not dry_run:
            self._warn(slug, known.migrations_of(report.fingerprint) or frozenset())

    def _replace(self, slug, file, quiet, *, dry_run, yes):
        if not (yes or dry_run):
            self.stdout.write(f"This replaces all data of tenant {slug!r}. It cannot be undone.")
            try:
                answer = input("Type the slug to continue: ")
            except EOFError:
                answer = ""
            if answer != slug:
                raise CommandError("Nothing was replaced, because the answer is not the slug.")
        return replace_from(self, slug, file, quiet=quiet, dry_run=dry_run)

    def _write_rows_left_out(self, report):
        """Print which rows of the file were left out because they belong in D1."""
        if report.rows_left_out:
            rows = ", ".join(
                f"{name} {left} of {total}" for name, (left, total) in sorted(report.rows_left_out.items())
            )
            self.stdout.write(
                f"Left out, because these rows belong in the shared database: {rows}. Users were copied "
                "without their passwords."
            )

    def _warn(self, slug, applied):
        if missing := lacking(applied):
            self.stderr.write(
                self.style.WARNING(
                    f"The tenant's schema lacks migrations of this code: {named(missing)}. "
                    f"Run `manage.py migrate --database tenant/{slug}`."
                )
            )
        if refused := known.unknown(applied):
            self.stderr.write(
                self.style.WARNING(
                    f"The tenant's schema has migrations that this code does not have: {named(refused)}. "
                    "DO_BRIDGE['REQUIRE_EXACT_SCHEMA'] is on, so this code can't use it. Deploy the code "
                    "that has these migrations."
                )
            )


def load_from(
    command, slug, file, name=None, *, source=None, fields=(), quiet=False, dry_run=False, place=None
):
    """Create a tenant from the file, with a progress bar, and return the LoadReport.

    `source` is the slug of the tenant that the file was just dumped from, if any; its members are copied too.
    `fields` are `FIELD=VALUE` strings. A `place` of None is the one that the fields or the ledger name, or
    the default. With `dry_run` nothing is written. Raises CommandError.
    """

    def register(lease):
        add_row(lease, name or "", values, Place(lease.row.jurisdiction, lease.row.location))
        tenant_filled.send(sender=type(command), source=source, target=slug)

    with _told(slug):
        validate_new_slug(slug)
        values = parse_fields(fields)
        refuse_missing(slug, values)
        operation = Operation.COPY if source else Operation.LOAD
        work = {"operation": operation, "then": register, "place": place or named_in_fields(values)}
        return _load(command, slug, file, quiet, dry_run=dry_run, **work)


def replace_from(command, slug, file, *, quiet=False, dry_run=False):
    """Replace the data of an existing tenant with that of the file.

    Return the LoadReport. The tenant is dumped first. If the load fails after its data was dropped, the dump
    is loaded again, and if that fails too, the dump stays and its path is printed. Raises CommandError.
    """

    def copy_members(lease):
        tenant_filled.send(sender=type(command), source=None, target=slug)

    options = {"operation": Operation.RESTORE, "replaces": True, "then": copy_members}
    with _told(slug):
        validate_slug(slug)
        if not is_registered(slug):
            raise CommandError(f"Tenant {slug!r} does not exist. Load the file without --replace.")
        if dry_run:
            return _load(command, slug, file, quiet, dry_run=True, **options)
        if leases.look(slug).operation == Operation.RESTORE or not has_tables(slug):
            # The data of before has gone.
            return _load(command, slug, file, quiet, **options)
        with _kept_if_needed(command) as (folder, done):
            before = folder / "before.sqlite3"
            dump_to(command, slug, before, quiet=True, strict=True)
            try:
                report = _load(command, slug, file, quiet, **options)
            except BaseException as error:
                # A lost lease means that another operation has begun, and that its outcome counts.
                if isinstance(error, leases.LeaseError) or leases.look(slug).operation != Operation.RESTORE:
                    done()
                elif isinstance(error, CountsDiffer | DatabaseError):
                    _load(command, slug, before, True, **options)
                    error.add_note("The tenant has its data of before again.")
                    done()
                raise
            done()
            return report


@contextmanager
def _kept_if_needed(command):
    """Yield a folder and a function; the folder is removed if the function was called."""
    folder, calls = Path(tempfile.mkdtemp(prefix="tenant-replace-")), []
    try:
        yield folder, partial(calls.append, True)
    finally:
        kept = [] if calls else list(folder.iterdir())
        if kept:
            command.stderr.write(f"The tenant's data of before is in {kept[0]}.")
        else:
            shutil.rmtree(folder)


@contextmanager
def _told(slug):
    """Raise CommandError for what a load raises."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise interrupted() from error
    except (
        InvalidSlug,
        FieldsMissing,
        WrongField,
        WrongPlace,
        UnfitFile,
        TenantExists,
        CountsDiffer,
        DatabaseError,
        OSError,
        sqlite3.Error,
    ) as error:
        raise CommandError(f"Tenant {slug!r} was not loaded: {one_line_with_notes(error)}") from error


def _load(command, slug, file, quiet, **options):
    terminal = not quiet and command.stderr.isatty()
    # The raw stream, because Django's wrapper adds a newline after each step of the bar.
    with tqdm(unit="row", file=command.stderr._out, disable=not terminal) as bar:
        return load_tenant(
            slug, file, on_start=bar.reset, on_piece=lambda table, rows: bar.update(rows), **options
        )
