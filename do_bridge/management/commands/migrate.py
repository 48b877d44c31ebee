"""Django's migrate, for the directory, one tenant, or all of them."""

import time

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError, connections
from tqdm import tqdm

from do_bridge.backends.remote_sqlite.migrations import MigrationExecutor
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import migration_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.directory import is_registered, registered_slugs
from do_bridge.tenancy.slugs import alias_slug, is_tenant_side, tenant_alias

# Django's command finds its executor by this name; ours is Django's for connections of other engines.
migrate.MigrationExecutor = MigrationExecutor


class Command(migrate.Command):
    """Adds `--database tenant`, every registered tenant, and `--database tenant/<slug>`, one of them."""

    help = (
        "Updates database schema: of the shared database (--database default), of one tenant "
        "(--database tenant/<slug>), or of all tenants, one after another (--database tenant)."
    )
    is_typed = False

    def add_arguments(self, parser):
        super().add_arguments(parser)
        for action in parser._actions:
            if action.dest == "database":
                # The tenants are too many to list; `handle` says what is wrong with a name.
                action.choices = None

    def get_check_kwargs(self, options):
        kwargs = super().get_check_kwargs(options)
        # Checks of a tenant's alias are the directory's; of one that cannot be, `handle` says what is wrong.
        database = options["database"]
        known = database in connections.settings
        if not known or self._is_template(database) or is_tenant_side(database):
            kwargs["databases"] = [conf("DIRECTORY_ALIAS")]
        return kwargs

    def run_from_argv(self, argv):
        # Whoever types a name may mistype it; code that calls the command has the name from somewhere.
        self.is_typed = True
        super().run_from_argv(argv)

    def handle(self, *args, **options):
        database = options["database"]
        if self._is_template(database):
            return self._migrate_all(*args, **options)
        if database not in connections.settings:
            raise CommandError(
                f"There is no database {database!r}. Name one of {', '.join(connections)}, or tenant/<slug>."
            )
        slug = alias_slug(database)
        if self.is_typed and slug is not None and not self._ask_directory(is_registered, slug):
            # It would become a database of nobody.
            raise CommandError(
                f"No tenant is registered as {slug!r}. `create_tenant {slug}` makes it, ready for use."
            )
        with migration_context(database):
            return super().handle(*args, **options)

    @staticmethod
    def _is_template(database):
        databases = tenant_databases()
        return databases is not None and database == databases.template

    @staticmethod
    def _ask_directory(question, *args):
        """Return what `question` finds in the directory; raise CommandError where that can't be read."""
        try:
            return question(*args)
        except DatabaseError as error:
            raise CommandError(
                f"The list of tenants can't be read ({error}). "
                f"Run `migrate --database {conf('DIRECTORY_ALIAS')}` first."
            ) from error

    def _migrate_all(self, *args, **options):
        """Migrate every registered tenant, past failures; end with a table, and an error if any failed."""
        self.is_typed = False
        slugs = self._ask_directory(registered_slugs)
        verbosity = options["verbosity"]
        rows = []
        quiet = {**options, "verbosity": max(0, verbosity - 1)}
        # The stream itself: Django's wrapper would end each step of the bar with a new line.
        stream = self.stderr._out
        bar = tqdm(slugs, unit="tenant", file=stream, disable=verbosity < 1 or not self.stderr.isatty())
        for slug in bar:
            bar.set_postfix_str(slug)
            rows.append(self._migrate_one(slug, args, quiet))
        self._report(rows, verbosity)

    def _migrate_one(self, slug, args, options):
        """Return (slug, what became of it, seconds, whether it failed)."""
        alias = tenant_alias(slug)
        start = time.monotonic()
        try:
            self.handle(*args, **{**options, "database": alias})
        except SystemExit as stop:  # --check ends the command where migrations are missing
            outcome, failed = ("behind", True) if stop.code else ("ok", False)
        except Exception as error:
            # Whatever a migration raises concerns this tenant alone; the others go on.
            outcome, failed = f"{type(error).__name__}: {error}", True
        else:
            outcome, failed = "ok", False
        if alias in tenant_databases().live_aliases():
            connections[alias].close()
        return slug, outcome, time.monotonic() - start, failed

    def _report(self, rows, verbosity):
        failures = [row for row in rows if row[3]]
        if verbosity >= 1:
            width = max((len(slug) for slug, *_ in rows), default=0)
            for slug, outcome, seconds, failed in rows:
                style = self.style.ERROR if failed else self.style.SUCCESS
                self.stdout.write(f"  {slug:<{width}}  {seconds:6.1f} s  " + style(outcome))
            self.stdout.write(f"{len(rows)} tenants, {len(failures)} failed.")
        if failures:
            names = ", ".join(slug for slug, *_ in failures)
            raise CommandError(f"{len(failures)} of {len(rows)} tenants failed: {names}. Run it again.")
