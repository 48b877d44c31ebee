"""The command load_sqlite: load a database file of Django's sqlite3 engine."""

import sqlite3
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from tqdm import tqdm

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.backends.sqlite_file.loading import NotEmpty, load_database
from do_bridge.management.loads import (
    add_dry_run,
    interrupted,
    one_line_with_notes,
    warn_left_out,
    write_counts,
)
from do_bridge.management.other_projects import refuse_other_projects_file
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import alias_slug


class Command(BaseCommand):
    """Load a whole database with its schema, unlike Django's loaddata."""

    help = (
        "Fills an empty D1 database or an empty Durable Object from a database file of Django's sqlite3 "
        "engine. After an interruption, run it again to continue."
    )
    # The database may be empty.
    requires_migrations_checks = False

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, help="The database file, db.sqlite3 in most projects.")
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The alias to fill. Default: %(default)s."
        )
        parser.add_argument(
            "--restart",
            action="store_true",
            help="Delete what an interrupted load left, and start from the beginning.",
        )
        add_dry_run(parser)

    def handle(self, *, file, database, restart, dry_run, verbosity, **options):
        self._refuse_database(database)
        needed = []

        def check(source, schema):
            needed.append(refuse_other_projects_file(source, schema))

        terminal = verbosity >= 1 and self.stderr.isatty()
        try:
            with tqdm(unit="row", file=self.stderr._out, disable=not terminal) as bar:
                report = load_database(
                    database,
                    file,
                    check=check,
                    on_start=bar.reset,
                    on_piece=lambda table, rows: bar.update(rows),
                    restart=restart,
                    dry_run=dry_run,
                )
        except KeyboardInterrupt as error:
            raise interrupted() from error
        except (UnfitFile, NotEmpty, CountsDiffer, DatabaseError, OSError, sqlite3.Error) as error:
            raise CommandError(f"{database!r} was not loaded: {one_line_with_notes(error)}") from error
        if verbosity >= 1:
            write_counts(self, report, f"Database {database!r}", dry_run=dry_run)
            if not dry_run:
                options = " ".join([database, *filter(None, needed)])
                self.stdout.write(f"Now run: manage.py migrate --database {options}")
        warn_left_out(self, report)

    @staticmethod
    def _refuse_database(alias):
        """Raise CommandError if the alias is unknown, a tenant's, or of another engine."""
        databases = tenant_databases()
        if databases is not None and (alias == databases.template or alias_slug(alias) is not None):
            slug = alias_slug(alias) or "SLUG"
            raise CommandError(
                "load_sqlite does not fill the databases of tenants. To create a tenant from a file, run "
                f"`manage.py tenant_load {slug} FILE`."
            )
        if alias not in connections.settings:
            raise CommandError(
                f"DATABASES has no alias {alias!r}. Use --database with one of {', '.join(connections)}."
            )
        engine = connections.settings[alias]["ENGINE"]
        if not engine.startswith("do_bridge."):
            raise CommandError(
                f"load_sqlite can't fill {alias!r}, because its engine is {engine}. Set "
                f"DATABASES[{alias!r}]['ENGINE'] to 'do_bridge.backends.d1' or "
                "'do_bridge.backends.durable_object' first."
            )
