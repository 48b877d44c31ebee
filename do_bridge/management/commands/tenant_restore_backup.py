"""The command tenant_restore_backup, which loads a tenant or D1 from a backup.

The backup is in a Django storage.
"""

import shutil
import sqlite3
from pathlib import Path

from django.core.management.base import CommandError
from django.db import DatabaseError, connections
from tqdm import tqdm

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.backends.sqlite_file.loading import NotEmpty, load_database
from do_bridge.management.backups import SHARED, Damaged, list_backups, open_storage
from do_bridge.management.base import TenantsCommand
from do_bridge.management.loads import interrupted, one_line_with_notes, write_counts
from do_bridge.management.placing import add_place_arguments, named_place
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.tenant_rows import add_set_argument
from do_bridge.tenancy.places import Place, WrongPlace
from do_bridge.tenancy.slugs import ALIAS_PREFIX, InvalidSlug, is_tenant_side, validate_slug

from .tenant_load import load_from


class Command(TenantsCommand):
    """Check the dump's digest, then load it as tenant_load and load_sqlite do."""

    help = (
        "Restores a tenant from a backup that tenant_backup wrote. The tenant's database must be empty: name "
        "a new slug with --as, or run tenant_delete first. With --shared it fills an empty D1 database."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="?", help="The tenant's slug in the backup.")
        parser.add_argument("--shared", action="store_true", help="Restore the shared database instead.")
        parser.add_argument(
            "--database", metavar="ALIAS", help="With --shared: the alias to fill. Default: the shared one."
        )
        parser.add_argument("--backup", metavar="NAME", help="The backup. Default: the latest that has it.")
        parser.add_argument("--as", dest="target", metavar="SLUG", help="The restored tenant's slug.")
        parser.add_argument("--name", help="The displayed name. Default: the slug.")
        parser.add_argument("--file", type=Path, help="Only write the SQLite file here, and load nothing.")
        parser.add_argument("--storage", default="backups", help="The storage. Default: %(default)s.")
        add_set_argument(parser)
        add_place_arguments(parser, default="where the ledger has the tenant of the backup")

    def handle(self, *, slug, shared, backup, target, file, storage, verbosity, **options):
        if shared == bool(slug) or (shared and target) or (options["database"] and not shared):
            raise CommandError("Name one tenant, or use --shared without --as. --database needs --shared.")
        database = SHARED if shared else f"{ALIAS_PREFIX}{_valid(slug)}"
        try:
            found = _find(open_storage(storage), database, backup)
            with found.fetched(database) as path:
                if file is not None:
                    self._write(path, file)
                elif shared:
                    self._restore_shared(path, options["database"] or conf("DIRECTORY_ALIAS"), verbosity)
                else:
                    target = target or slug
                    work = {"fields": options["fields"], "quiet": verbosity < 1}
                    work["place"] = _place(slug, options)
                    report = load_from(self, target, path, options["name"], **work)
                    if verbosity >= 1:
                        write_counts(self, report, f"Tenant {target}")
        except Damaged as error:
            raise CommandError(f"{error} Restore from another backup with --backup.") from error
        if verbosity >= 1:
            self.stdout.write(f"From the backup {found.name}.")

    @staticmethod
    def _write(path, file):
        try:
            with path.open("rb") as source, file.open("xb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise CommandError(f"{file} was not written: {error.strerror}.") from error

    def _restore_shared(self, path, alias, verbosity):
        if alias not in connections.settings or is_tenant_side(alias):
            raise CommandError(f"DATABASES has no alias {alias!r} for the shared database.")
        terminal = verbosity >= 1 and self.stderr.isatty()
        try:
            with tqdm(unit="row", file=self.stderr._out, disable=not terminal) as bar:
                report = load_database(
                    alias, path, on_start=bar.reset, on_piece=lambda table, rows: bar.update(rows)
                )
        except KeyboardInterrupt as error:
            raise interrupted() from error
        except (UnfitFile, NotEmpty, CountsDiffer, DatabaseError, OSError, sqlite3.Error) as error:
            raise CommandError(f"{alias!r} was not restored: {one_line_with_notes(error)}") from error
        if verbosity >= 1:
            write_counts(self, report, f"Database {alias!r}")


def _place(slug, options):
    """Return the Place that the options name, or that of the tenant until now."""
    try:
        named = named_place(options)
    except WrongPlace as error:
        raise CommandError(str(error)) from error
    row = leases.look(slug)
    return named or Place(row.jurisdiction, row.location)


def _valid(slug):
    try:
        return validate_slug(slug)
    except InvalidSlug as error:
        raise CommandError(str(error)) from error


def _find(storage, database, name):
    """Return the named backup, or the latest one that has the database."""
    backups = list_backups(storage)
    if name is not None:
        if (found := next((backup for backup in backups if backup.name == name), None)) is not None:
            return found
        raise CommandError(
            f"The backup {name!r} does not exist. `manage.py tenant_backup --list` lists them."
        )
    for backup in reversed(backups):
        if database in backup.entries():
            return backup
    raise CommandError(f"No backup has {database!r}. `manage.py tenant_backup --list` lists the backups.")
