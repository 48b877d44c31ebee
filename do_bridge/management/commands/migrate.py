"""Django's migrate command for the shared database, one tenant, or all tenants."""

from functools import partial

from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.management.migrating import MigrateCommand
from do_bridge.management.other_projects import OPTION, refuse_other_project
from do_bridge.management.time_travel import bookmark_before
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import migration_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.emptying import drop_left_over, fail, settle
from do_bridge.tenancy.lifecycle.fencing import fenced
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.lease.database_lease import database_lease
from do_bridge.tenancy.lifecycle.looking import read_tenant, refuse_elsewhere, unchecked
from do_bridge.tenancy.lifecycle.lost import is_recorded, needing_data, record_lost, refusing_lost
from do_bridge.tenancy.lifecycle.provision import is_unfilled, ready
from do_bridge.tenancy.lifecycle.states import EXCLUSIVE, Do, Operation, has_data
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
from do_bridge.tenancy.schema.errors import TenantLost, TenantUnclaimed
from do_bridge.tenancy.schema.fingerprint import of
from do_bridge.tenancy.slugs import alias_slug, is_tenant_side, tenant_alias
from do_bridge.tenancy.tenants import is_registered, no_such_tenant, registered_slugs, tenant_model

SHOWN = 20
BEHIND = "behind"
BUSY = "busy, not checked"


class Command(MigrateCommand):
    """Accept `--database tenant` and `--database tenant/<slug>`.

    The first migrates all tenants, the second one of them.
    """

    help = (
        "Updates the schema of the shared database (--database default), of one tenant "
        "(--database tenant/<slug>) or of all tenants (--database tenant). Tenants that are up to date "
        "according to the ledger in D1 are skipped. After a failure or Ctrl-C, run it again to continue."
    )
    # `noted` is False if the caller itself writes to the ledger.
    stealth_options = ("noted",)
    is_typed = False

    def add_arguments(self, parser):
        super().add_arguments(parser)
        for action in parser._actions:
            if action.dest == "database":
                # There may be too many tenants to list; `handle` checks the name.
                action.choices = None
        parser.add_argument(
            "--tenant",
            action="append",
            dest="tenants",
            metavar="SLUG",
            help="With --database tenant: only this tenant. Can be repeated.",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            metavar="N",
            help="With --database tenant: number of tenants at once. Default: %(default)s.",
        )
        parser.add_argument(
            OPTION,
            action="store_true",
            help="Migrate the database even if another project has migrated it.",
        )

    def get_check_kwargs(self, options):
        kwargs = super().get_check_kwargs(options)
        # A tenant's alias has no checks of its own. `handle` raises for an unknown alias.
        database = options["database"]
        configured = database in connections.settings
        if not configured or self._is_template(database) or is_tenant_side(database):
            kwargs["databases"] = [conf("DIRECTORY_ALIAS")]
        return kwargs

    def run_from_argv(self, argv):
        # A typed slug may be mistyped, so it is looked up in D1. A slug from code is not.
        self.is_typed = True
        super().run_from_argv(argv)

    def handle(self, *args, **options):
        database = options["database"]
        if self._is_template(database):
            return self._migrate_all(options)
        if options.get("tenants"):
            raise CommandError("--tenant needs --database tenant.")
        if database not in connections.settings:
            raise CommandError(
                f"DATABASES has no alias {database!r}. Use --database with one of {', '.join(connections)}, "
                "or with tenant/<slug>."
            )
        slug = alias_slug(database)
        if self.is_typed and slug is not None and not self._ask_directory(is_registered, slug):
            raise CommandError(no_such_tenant(slug))
        looks_only = options["plan"] or options["check_unapplied"]
        if self.is_typed and looks_only and slug is not None:
            row = self._ask_directory(leases.look, slug)
            if row.operation in EXCLUSIVE and not row.is_live:
                raise CommandError(leases.interrupted(row))
            with needing_data(row):
                return self._look_at(database, options)
        if not (looks_only or options.get("with_other_apps")):
            refuse_other_project(database)
        if slug is None and not looks_only:
            with (
                database_lease(database, self.stderr if options["verbosity"] else None),
                bookmark_before(self, database, options["verbosity"]),
            ):
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
        """Return `question(*args)`, a query on D1.

        Raises CommandError if D1 can't be read.
        """
        try:
            return question(*args)
        except DatabaseError as error:
            advice = f" Run `manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first."
            raise CommandError(
                f"The list of tenants can't be read ({error}).{advice if is_missing_table(error) else ''}"
            ) from error

    # One database

    def _look_at(self, alias, options):
        """Run Django's command, which changes nothing.

        Raises CommandError for a lost tenant.
        """
        try:
            return self._migrate_alias(alias, options)
        except TenantLost as error:
            raise CommandError(str(error)) from error

    def _migrate_alias(self, alias, options):
        """Run Django's command."""
        with migration_context(alias), unchecked(alias):
            self._run(alias, options)

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
        """Migrate one tenant under a lease and record the outcome in the ledger."""
        alias = tenant_alias(slug)
        # A call from code adopts an object with tables; a typed command does not.
        lease = leases.take(
            slug,
            Operation.MIGRATE,
            partial(read_tenant, slug),
            adopts=not self.is_typed,
            noting=partial(_bookmarks, options),
        )
        if not lease.fence:
            self._refuse(lease)
        try:
            with leases.kept(lease):
                refuse_elsewhere(lease)
                if is_unfilled(lease):
                    ready(lease)
                elif lease.step == Do.DROP:
                    drop_left_over(lease)
                with fenced(alias, lease), refusing_lost(lease):
                    self._migrate_alias(alias, options)
        except TenantLost as error:
            fail(lease, error)
            raise CommandError(str(error)) from error
        except Exception as error:
            fail(lease, error)
            raise
        settle(lease, connections[alias].schema_fingerprint)

    @staticmethod
    def _refuse(lease):
        """Raise CommandError if the tenant may not be migrated."""
        if lease.step == Do.GONE:
            raise CommandError(
                f"Tenant {lease.slug!r} was deleted, so it can't be migrated. To create it again, run "
                f"`manage.py create_tenant {lease.slug}`."
            )
        try:
            leases.refuse(lease)
        except leases.Unfinished as error:
            raise CommandError(str(error)) from error
        if lease.step == Do.LOST:
            raise CommandError(str(record_lost(lease.row)))
        raise CommandError(str(TenantUnclaimed(lease.slug)))

    # All tenants

    def _migrate_all(self, options):
        """Migrate the registered tenants.

        Prints a table, and raise CommandError if any failed.
        """
        try:
            total, todo, states, target = self._ask_directory(self._places, options)
        except TargetError as error:
            raise CommandError(str(error)) from error
        unready = self._unready(states) if options["plan"] or options["check_unapplied"] else {}
        if options["plan"]:
            return self._show_plans(todo, states, unready, options)
        # `check` imports this module, too.
        from tqdm import tqdm

        fleet = self._fleet(options, unready, states)
        # The raw stream, because Django's wrapper adds a newline after each step of the bar.
        quiet = options["verbosity"] < 1 or not self.stderr.isatty()
        with tqdm(total=len(todo), unit="tenant", file=self.stderr._out, disable=quiet) as bar:
            fleet.run(todo, bar)
        if target is not None and not options["check_unapplied"]:
            self._note_reached(fleet, target)
        is_check = options["check_unapplied"]
        self._report(fleet, total, len(todo), options["verbosity"], is_check=is_check)
        return None

    def _unready(self, states):
        """Return {slug: its present leases.Row} of tenants that no process may use now."""
        slugs = [slug for slug, state in states.items() if state.operation in EXCLUSIVE]
        rows = self._ask_directory(leases.look_at_many, slugs) if slugs else {}
        return {slug: row for slug, row in rows.items() if row.operation in EXCLUSIVE}

    @staticmethod
    def _note_reached(fleet, target):
        """Record the schemas that tenants reached with migrations of other code.

        The next run then skips these tenants.
        """
        reached = {outcome.fingerprint for outcome in fleet.outcomes if not outcome.failed} - {of(target)}
        found = {mark: applied for mark in reached if (applied := known.migrations_of(mark)) is not None}
        ledger.note_schemas({mark: found[mark] for mark in found if is_there(found[mark], target)})

    def _places(self, options):
        """Return (number of tenants, slugs to migrate, their ledger rows, target)."""
        target, chosen = migrations_at_target(options), options["tenants"]
        if chosen:
            tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
            registered = registered_slugs(tenants.filter(slug__in=chosen))
            if unknown := sorted({*chosen} - {*registered}):
                raise CommandError(no_such_tenant(*unknown))
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

    def _fleet(self, options, unready, states):
        quiet = {**options, "verbosity": 0, "noted": False}
        if options["check_unapplied"]:

            def check_one(slug):
                return self._check_one(slug, quiet, unready.get(slug), states.get(slug))

            return Fleet(check_one, jobs=options["jobs"])

        def migrate_one(slug):
            # One Command for each tenant, because Django's keeps its options as attributes.
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

    def _check_one(self, slug, options, row, state):
        if row is not None:
            # What its object holds is not the tenant's yet, or no longer.
            return Outcome(slug, BUSY) if row.is_live else Outcome(slug, error=leases.interrupted(row))
        try:
            with needing_data(state or leases.Row(slug)):
                Command(stdout=self.stdout._out)._migrate_alias(tenant_alias(slug), options)
        except SystemExit:  # Django's --check ends the process if migrations are missing
            return Outcome(slug, BEHIND)
        return Outcome(slug)

    def _show_plans(self, todo, states, unready, options):
        """Print the plan once for all tenants with the same schema."""
        groups = {}
        interrupted = [row for row in unready.values() if not row.is_live]
        for row in interrupted:
            self.stdout.write(self.style.ERROR(leases.interrupted(row)))
        todo = [slug for slug in todo if slug not in unready]
        for slug in todo:
            state = states.get(slug)
            groups.setdefault(state.fingerprint if state is not None else "", []).append(slug)
        lost = {}
        for slugs in map(partial(self._without_lost, states, lost), groups.values()):
            if not slugs:
                continue
            others = f", and {len(slugs) - 1} other tenants with the same schema" if len(slugs) > 1 else ""
            self.stdout.write(self.style.MIGRATE_HEADING(f"Tenant {slugs[0]}{others}"))
            self._migrate_alias(tenant_alias(slugs[0]), {**options, "check_unapplied": False})
        if not todo:
            self.stdout.write(f"{'The other' if unready else 'All'} tenants are up to date.")
        if (interrupted or lost) and options["check_unapplied"]:
            names = _some([*(row.slug for row in interrupted), *lost])
            raise CommandError(f"These tenants are not ready: {names}. The lines above have the reasons.")
        if todo and options["check_unapplied"]:
            raise CommandError(
                f"{len(todo)} tenants are behind. Run `manage.py migrate --database tenant` to migrate them."
            )

    def _without_lost(self, states, lost, slugs):
        """Print why tenants of one schema are lost, as far as is known; return the others.

        The objects of those recorded as lost are read, and of the first other one. They go to `lost`.
        """

        def is_lost(slug):
            return has_data(states[slug]) and not read_tenant(slug).has_tables

        found = [slug for slug in slugs if slug in states and is_recorded(states[slug]) and is_lost(slug)]
        left = [slug for slug in slugs if slug not in found]
        while left and left[0] in states and is_lost(left[0]):
            found.append(left.pop(0))
        for slug in found:
            self.stdout.write(self.style.ERROR(str(TenantLost(slug))))
        lost.update(dict.fromkeys(found))
        return left

    def _report(self, fleet, total, todo, verbosity, *, is_check=False):
        failures = [outcome for outcome in fleet.outcomes if outcome.failed]
        behind = [outcome.slug for outcome in fleet.outcomes if outcome.text == BEHIND]
        busy = sum(outcome.text == BUSY for outcome in fleet.outcomes)
        done = len(fleet.outcomes) - len(failures) - len(behind) - busy
        if verbosity >= 1:
            shown = fleet.outcomes if verbosity > 1 or len(fleet.outcomes) <= SHOWN else failures
            width = max((len(outcome.slug) for outcome in shown), default=0)
            for one in sorted(shown, key=lambda outcome: outcome.slug):
                style = self.style.WARNING if one.text in (BEHIND, BUSY) else self.style.SUCCESS
                text = self.style.ERROR(one.error) if one.failed else style(one.text)
                self.stdout.write(f"  {one.slug:<{width}}  {one.seconds:6.1f} s  {text}")
            there, left = total - todo, todo - len(fleet.outcomes) + busy
            if is_check:
                counts = f"{len(behind)} behind, {there + done} up to date, {left} not checked."
            else:
                counts = f"{done} migrated, {there} already up to date, {left} not started."
            self.stdout.write(f"{total} tenants, {len(failures)} failed: {counts}")
        again = "The table has the reasons." if is_check else "Run the command again for them."
        self._end(fleet, total, todo, [one.slug for one in failures], behind, again)

    @staticmethod
    def _end(fleet, total, todo, failed, behind, again):
        """Raise CommandError if a tenant failed, was not reached, or is behind."""
        if fleet.interrupted:
            raise CommandError(
                f"Interrupted after {len(fleet.outcomes)} of {todo} tenants. No tenant has a half-applied "
                "migration. Run the command again to continue.",
                returncode=130,
            )
        if failed:
            raise CommandError(f"{len(failed)} of {total} tenants failed: {_some(failed)}. {again}")
        if behind:
            verb = "is" if len(behind) == 1 else "are"
            raise CommandError(
                f"{len(behind)} of {total} tenants {verb} behind: {_some(behind)}. "
                "Run `manage.py migrate --database tenant` to migrate them."
            )


def _bookmarks(options, rows, owner):
    """Return the statements that keep bookmarks of tenants that `migrate` may change.

    Without a target each tenant may be changed.
    """
    try:
        target = migrations_at_target(options)
    except TargetError:
        return []
    if target is not None:
        rows = [
            row for row in rows if not is_there(known.migrations_of(row.fingerprint) or frozenset(), target)
        ]
    return bookmarks.before_migration(rows, owner)


def _some(slugs):
    """Return the first slugs as text, and the number of the others."""
    more = f" and {len(slugs) - SHOWN} more" if len(slugs) > SHOWN else ""
    return ", ".join(slugs[:SHOWN]) + more


def _refusal(fingerprint):
    """Return why this code refuses a schema, or an empty string."""
    unknown = known.unknown(known.migrations_of(fingerprint) or frozenset())
    return f"it has migrations that this code does not have: {named(unknown)}" if unknown else ""
