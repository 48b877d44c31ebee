"""Fills D1, or one Durable Object, from the file of a site that Django's own sqlite3 engine made."""

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
    tell_counts,
    warn_left_out,
)
from do_bridge.management.other_projects import refuse_other_projects_file
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import alias_slug


class Command(BaseCommand):
    """Beside Django's loaddata: a whole database at once, with its schema, and nothing of it or all of it."""

    help = (
        "Fills an empty D1 database, or an empty Durable Object, from a database file of Django's "
        "sqlite3 engine. "
        "Run it again after an interruption: it goes on."
    )
    # The database may be empty.
    requires_migrations_checks = False

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, help="the site's database, db.sqlite3 in most projects")
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="the alias to fill; default: %(default)s"
        )
        parser.add_argument(
            "--restart",
            action="store_true",
            help="Throw away what an interrupted load left, and begin again.",
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
            tell_counts(self, report, f"Database {database!r}", dry_run=dry_run)
            if not dry_run:
                options = " ".join([database, *filter(None, needed)])
                self.stdout.write(f"Now run: manage.py migrate --database {options}")
        warn_left_out(self, report)

    @staticmethod
    def _refuse_database(alias):
        """Raise CommandError for an alias that is none, is a tenant's, or is another engine's."""
        databases = tenant_databases()
        if databases is not None and (alias == databases.template or alias_slug(alias) is not None):
            slug = alias_slug(alias) or "SLUG"
            raise CommandError(
                "load_sqlite does not fill the databases of tenants. Run `manage.py tenant_load "
                f"{slug} FILE`, "
                "which makes a tenant of a file."
            )
        if alias not in connections.settings:
            raise CommandError(f"There is no database {alias!r}. Name one of {', '.join(connections)}.")
        engine = connections.settings[alias]["ENGINE"]
        if not engine.startswith("do_bridge."):
            raise CommandError(
                f"{alias!r} is a database of {engine}. load_sqlite fills those of do_bridge's engines: point "
                f"DATABASES[{alias!r}] at D1 or at a Durable Object first."
            )
