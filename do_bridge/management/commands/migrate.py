"""Django's migrate, for the directory, one tenant, or all of them."""

import random
import time
from functools import partial

from django.core.management.base import CommandError
from django.db import DatabaseError, connections
from tqdm import tqdm

from do_bridge.management.failures import is_without_tables
from do_bridge.management.migrating import MigrateCommand
from do_bridge.management.other_projects import OPTION, refuse_other_project
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import migration_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import leases, ledger
from do_bridge.tenancy.lifecycle.database_lease import database_lease
from do_bridge.tenancy.lifecycle.emptying import drop_left_over, settle
from do_bridge.tenancy.lifecycle.fencing import fenced
from do_bridge.tenancy.lifecycle.looking import read_tenant, unchecked
from do_bridge.tenancy.lifecycle.provision import finishes_creation, ready
from do_bridge.tenancy.lifecycle.states import Do, Operation
from do_bridge.tenancy.migrate.bring import LeasedFleet, Steps
from do_bridge.tenancy.migrate.catch_up import named
from do_bridge.tenancy.migrate.executor import prune_removed, settle_fingerprint
from do_bridge.tenancy.migrate.fleet import JOBS, Fleet, Outcome
from do_bridge.tenancy.migrate.targets import (
    TargetError,
    find_there,
    has_migrations,
    is_there,
    migrations_at_target,
)
from do_bridge.tenancy.replicated.contenttypes import directory_is_closed
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.errors import TenantUnclaimed
from do_bridge.tenancy.schema.expecting import is_overtaken
from do_bridge.tenancy.schema.fingerprint import of
from do_bridge.tenancy.slugs import alias_slug, is_tenant_side, tenant_alias
from do_bridge.tenancy.tenants import is_registered, registered_slugs, tenant_model

# How often one tenant is tried that somebody else migrates at the same time.
ATTEMPTS = 10
# Seconds before another try, at most, times the number of those before it.
PAUSE = 0.3
SHOWN = 20
BEHIND = "behind"


class Command(MigrateCommand):
    """Adds `--database tenant`, every registered tenant, and `--database tenant/<slug>`, one of them."""

    help = (
        "Updates database schema: of the shared database (--database default), of one tenant "
        "(--database tenant/<slug>), or of all tenants (--database tenant), of which those that the ledger "
        "knows to be there already are not touched. Run it again after a failure or Ctrl-C: it continues."
    )
    # False: the caller writes to the ledger himself.
    stealth_options = ("noted",)
    is_typed = False

    def add_arguments(self, parser):
        super().add_arguments(parser)
        for action in parser._actions:
            if action.dest == "database":
                # The tenants are too many to list; `handle` says what is wrong with a name.
                action.choices = None
        parser.add_argument(
            "--tenant",
            action="append",
            dest="tenants",
            metavar="SLUG",
            help="With --database tenant: this tenant alone; may be repeated.",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            metavar="N",
            help="With --database tenant: so many tenants at the same time; %(default)s if left out.",
        )
        parser.add_argument(
            OPTION,
            action="store_true",
            help="Migrate a database that another project has migrated, which is refused otherwise.",
        )

    def get_check_kwargs(self, options):
        kwargs = super().get_check_kwargs(options)
        # Checks of a tenant's alias are the directory's; of one that cannot be, `handle` says what is wrong.
        database = options["database"]
        configured = database in connections.settings
        if not configured or self._is_template(database) or is_tenant_side(database):
            kwargs["databases"] = [conf("DIRECTORY_ALIAS")]
        return kwargs

    def run_from_argv(self, argv):
        # Whoever types a name may mistype it; code that calls the command has the name from somewhere.
        self.is_typed = True
        super().run_from_argv(argv)

    def handle(self, *args, **options):
        database = options["database"]
        if self._is_template(database):
            return self._migrate_all(options)
        if options.get("tenants"):
            raise CommandError("--tenant goes with --database tenant.")
        if database not in connections.settings:
            raise CommandError(
                f"There is no database {database!r}. Name one of {', '.join(connections)}, or tenant/<slug>."
            )
        slug = alias_slug(database)
        if self.is_typed and slug is not None and not self._ask_directory(is_registered, slug):
            # It would become a database of nobody.
            raise CommandError(
                f"No tenant is registered as {slug!r}. "
                f"`manage.py create_tenant {slug}` makes it, ready for use."
            )
        looks_only = options["plan"] or options["check_unapplied"]
        if not (looks_only or options.get("with_other_apps")):
            refuse_other_project(database)
        if slug is None and not looks_only:
            with database_lease(database, self.stderr):
                return self._migrate_alias(database, options)
        if looks_only or not options.get("noted", True) or directory_is_closed():
            return self._migrate_alias(database, options)
        return self._migrate_noted(slug, options)

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
            advice = f" Run `manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first."
            raise CommandError(
                f"The list of tenants can't be read ({error}).{advice if is_without_tables(error) else ''}"
            ) from error

    # One database

    def _migrate_alias(self, alias, options):
        """Run Django's command, again where another process was quicker."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with migration_context(alias), unchecked(alias):
                    self._run(alias, options)
                    return
            except DatabaseError as error:
                if self.is_typed and is_tenant_side(alias) and "already exists" in str(error):
                    raise CommandError(
                        f"{error}. Where somebody else makes or migrates this tenant just now, run it again."
                    ) from error
                if not is_overtaken(error) or attempt == ATTEMPTS:
                    raise
            # The other one shall come on; that two keep step for long is a matter of chance.
            time.sleep(random.uniform(0, PAUSE * attempt))  # noqa: S311 - no secret

    def _run(self, alias, options):
        label = options["app_label"]
        if not (options["prune"] and is_tenant_side(alias)):
            super().handle(**{**options, "database": alias})
        elif label and not has_migrations(label):
            names = prune_removed(connections[alias], label)
            if options["verbosity"] > 0:
                lines = [f"  Pruning {label}.{name} OK" for name in names]
                self.stdout.write("\n".join(lines) or "  No migrations to prune.")
        else:
            super().handle(**{**options, "database": alias})
            settle_fingerprint(connections[alias])

    def _migrate_noted(self, slug, options):
        """Migrate one tenant under a lease, with its outcome in the ledger."""
        alias = tenant_alias(slug)
        # Code that calls the command says by that whose the object is.
        lease = leases.take(slug, Operation.MIGRATE, partial(read_tenant, slug), adopts=not self.is_typed)
        if not lease.fence:
            self._refuse(lease)
        try:
            with leases.kept(lease):
                if finishes_creation(lease):
                    ready(lease)
                elif lease.step == Do.DROP:
                    drop_left_over(lease)
                with fenced(alias, lease):
                    self._migrate_alias(alias, options)
        except Exception as error:
            leases.fail(lease, error)
            raise
        settle(lease, connections[alias].schema_fingerprint)

    @staticmethod
    def _refuse(lease):
        """Raise CommandError for what may not be migrated."""
        if lease.step == Do.GONE:
            raise CommandError(f"Tenant {lease.slug!r} was deleted.")
        try:
            leases.refuse(lease)
        except leases.Unfinished as error:
            raise CommandError(str(error)) from error
        raise CommandError(str(TenantUnclaimed(lease.slug)))

    # All tenants

    def _migrate_all(self, options):
        """Migrate the registered tenants; end with a table, and an error if any failed."""
        try:
            total, todo, states, target = self._ask_directory(self._places, options)
        except TargetError as error:
            raise CommandError(str(error)) from error
        if options["plan"]:
            return self._show_plans(todo, states, options)
        fleet = self._fleet(options)
        # The stream itself: Django's wrapper would end each step of the bar with a new line.
        quiet = options["verbosity"] < 1 or not self.stderr.isatty()
        with tqdm(total=len(todo), unit="tenant", file=self.stderr._out, disable=quiet) as bar:
            fleet.run(todo, bar)
        if target is not None and not options["check_unapplied"]:
            self._note_reached(fleet, target)
        is_check = options["check_unapplied"]
        self._report(fleet, total, len(todo), options["verbosity"], is_check=is_check)
        return None

    @staticmethod
    def _note_reached(fleet, target):
        """Note the schemas that tenants reached with migrations of other code, for the next run to know."""
        reached = {outcome.fingerprint for outcome in fleet.outcomes if not outcome.failed} - {of(target)}
        found = {mark: applied for mark in reached if (applied := known.migrations_of(mark)) is not None}
        ledger.note_schemas({mark: found[mark] for mark in found if is_there(found[mark], target)})

    def _places(self, options):
        """Return how many tenants are chosen, those to be touched, their ledger, and the goal."""
        target, chosen = migrations_at_target(options), options["tenants"]
        if chosen:
            tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
            registered = registered_slugs(tenants.filter(slug__in=chosen))
            if unknown := sorted({*chosen} - {*registered}):
                raise CommandError(f"There is no tenant {', '.join(map(repr, unknown))}.")
        total, noted = ledger.survey(chosen)
        there = []
        if target is not None:
            there = [of(target), *(mark for mark, applied in noted.items() if is_there(applied, target))]
        todo = ledger.behind(chosen, there)
        states = ledger.states(todo)
        todo = [slug for slug in todo if slug not in states or states[slug].state != ledger.DELETED]
        if target is not None:
            there = find_there([states[slug] for slug in todo if slug in states], noted, target)
            if not (options["plan"] or options["check_unapplied"]):
                ledger.note_schemas(there)
            todo = [slug for slug in todo if slug not in states or not ledger.is_at(states[slug], *there)]
        return total, todo, states, target

    def _fleet(self, options):
        quiet = {**options, "verbosity": 0, "noted": False}
        if options["check_unapplied"]:
            return Fleet(lambda slug: self._check_one(slug, quiet), jobs=options["jobs"])

        def migrate_one(slug):
            # A command of its own for each: Django's keeps what it was told on itself.
            Command(stdout=self.stdout._out, stderr=self.stderr._out)._migrate_alias(
                tenant_alias(slug), quiet
            )
            return connections[tenant_alias(slug)].schema_fingerprint

        plain = not any(options[name] for name in ("fake", "fake_initial", "prune", "run_syncdb"))
        return LeasedFleet(
            Steps(migrate_one) if plain else None,
            migrate_one,
            makes=plain and not options["app_label"],
            refusal=_refusal,
            jobs=options["jobs"],
        ).fleet()

    def _check_one(self, slug, options):
        try:
            Command(stdout=self.stdout._out)._migrate_alias(tenant_alias(slug), options)
        except SystemExit:  # Django's --check ends the process where migrations are missing
            return Outcome(slug, BEHIND)
        return Outcome(slug)

    def _show_plans(self, todo, states, options):
        """Show what would be done, once for all tenants of the same schema."""
        groups = {}
        for slug in todo:
            state = states.get(slug)
            groups.setdefault(state.fingerprint if state is not None else "", []).append(slug)
        for slugs in groups.values():
            others = f", and {len(slugs) - 1} tenants like it" if len(slugs) > 1 else ""
            self.stdout.write(self.style.MIGRATE_HEADING(f"Tenant {slugs[0]}{others}"))
            self._migrate_alias(tenant_alias(slugs[0]), {**options, "check_unapplied": False})
        if not todo:
            self.stdout.write("Every tenant is there already.")
        elif options["check_unapplied"]:
            raise CommandError(f"{len(todo)} tenants are behind.")

    def _report(self, fleet, total, todo, verbosity, *, is_check=False):
        failures = [outcome for outcome in fleet.outcomes if outcome.failed]
        behind = [outcome.slug for outcome in fleet.outcomes if outcome.text == BEHIND]
        done = len(fleet.outcomes) - len(failures) - len(behind)
        if verbosity >= 1:
            shown = fleet.outcomes if verbosity > 1 or len(fleet.outcomes) <= SHOWN else failures
            width = max((len(outcome.slug) for outcome in shown), default=0)
            for one in sorted(shown, key=lambda outcome: outcome.slug):
                style = self.style.WARNING if one.text == BEHIND else self.style.SUCCESS
                text = self.style.ERROR(one.error) if one.failed else style(one.text)
                self.stdout.write(f"  {one.slug:<{width}}  {one.seconds:6.1f} s  {text}")
            there, left = total - todo, todo - len(fleet.outcomes)
            if is_check:
                told = f"{len(behind)} behind, {there + done} up to date, {left} not asked."
            else:
                told = f"{done} done now, {there} at their place already, {left} not begun."
            self.stdout.write(f"{total} tenants, {len(failures)} failed: {told}")
        self._end(fleet, total, todo, [one.slug for one in failures], behind)

    @staticmethod
    def _end(fleet, total, todo, failed, behind):
        """Raise CommandError if not every tenant is where it should be."""
        if fleet.interrupted:
            raise CommandError(
                f"Interrupted after {len(fleet.outcomes)} of {todo} tenants; each is before or after a "
                "migration, none in between. Run it again to continue.",
                returncode=130,
            )
        if failed:
            raise CommandError(f"{len(failed)} of {total} tenants failed: {_some(failed)}. Run it again.")
        if behind:
            verb = "is" if len(behind) == 1 else "are"
            raise CommandError(
                f"{len(behind)} of {total} tenants {verb} behind: {_some(behind)}. "
                "`manage.py migrate --database tenant` migrates them."
            )


def _some(slugs):
    """Return the first slugs, and how many more there are."""
    more = f" and {len(slugs) - SHOWN} more" if len(slugs) > SHOWN else ""
    return ", ".join(slugs[:SHOWN]) + more


def _refusal(fingerprint):
    """Return why this code refuses the schema that a tenant has reached, "" where it does not."""
    unknown = known.unknown(known.migrations_of(fingerprint) or frozenset())
    return f"it has migrations that this code does not have: {named(unknown)}" if unknown else ""
