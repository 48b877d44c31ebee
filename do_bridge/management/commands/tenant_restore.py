"""The command tenant_restore: take tenants back to a moment of their history."""

from functools import partial

from django.core.management.base import CommandError
from django.db import Error

from do_bridge.management.base import TenantsCommand
from do_bridge.management.caches import warn_of_caches
from do_bridge.management.fleets import run_fleet
from do_bridge.management.moments import add_moment, shown
from do_bridge.management.named_tenants import refuse_unregistered
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.history.rewind import rewind_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.migrate.fleet import JOBS, Outcome
from do_bridge.tenancy.schema.errors import SchemaMismatch
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug
from do_bridge.tenancy.tenants import registered_slugs


class Command(TenantsCommand):
    """Rewind one tenant, or all that were migrated since a moment."""

    help = (
        "Takes a tenant's database back to a moment of the last 30 days. Everything that was written since "
        "is gone, and a bookmark is printed that undoes it. After an interruption, run it again to finish it."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="?", help="The tenant's slug.")
        moment = parser.add_mutually_exclusive_group(required=True)
        add_moment(moment, "--to", "Go back to this moment.")
        moment.add_argument("--bookmark", help="Go back to this bookmark.")
        moment.add_argument(
            "--before-migration",
            action="store_true",
            help="Go back to before the last migration, and leave the schema as it was then.",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="With --before-migration and --since: all tenants that were migrated since then.",
        )
        add_moment(parser, "--since", "With --all: only migrations since this moment.")
        parser.add_argument(
            "--keep-schema",
            action="store_true",
            help="Don't migrate an older schema to that of this code.",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            help="With --all: number of tenants at once. Default: %(default)s.",
        )
        parser.add_argument(
            "--noinput", "--no-input", action="store_false", dest="interactive", help="Don't ask."
        )

    def handle(self, *, slug, **options):
        is_whole = options["all"]
        if text := _misuse(slug, options):
            raise CommandError(text)
        try:
            if is_whole:
                self._restore_all(options)
            else:
                self._restore_one(slug, options)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error

    # One tenant

    def _restore_one(self, slug, options):
        verbosity, by_migration = options["verbosity"], options["before_migration"]
        validate_slug(slug)
        refuse_unregistered(slug)
        try:
            bookmark, moment = self._target(slug, options)
        except Error as error:
            raise CommandError(_not_restored(slug, error)) from error
        if options["interactive"]:
            self._ask(slug, f"This takes tenant {slug!r} back to {moment}. What was written since is gone.")
        elif verbosity >= 1:
            self.stdout.write(f"Tenant {slug} goes back to {moment}.")
        keeps_schema = options["keep_schema"] or by_migration
        on_undo = partial(self._print_undo, slug) if verbosity >= 1 else None
        try:
            rewound = rewind_tenant(slug, bookmark, keeps_schema=keeps_schema, on_undo=on_undo)
        except (Error, SchemaMismatch) as error:
            raise CommandError(_failure(slug, error)) from error
        if verbosity >= 1:
            schema = " Its schema was migrated to that of this code." if rewound.migrated else ""
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug} was restored.{schema}"))
            self._print_undo(slug, rewound.undo)
            self._advise(by_migration)

    def _target(self, slug, options):
        """Return (bookmark, its moment as text)."""
        if options["bookmark"]:
            return options["bookmark"], f"the bookmark {options['bookmark']}"
        if (at := options["to"]) is not None:
            return bookmarks.bookmark_of(leases.look(slug), at), shown(at)
        found = bookmarks.before_last_migration(slug)
        if found is None:
            raise CommandError(
                f"No bookmark from before a migration of tenant {slug!r} is kept. {_switched_off()}Use --to, "
                f"or run `manage.py tenant_bookmark {slug} --list`."
            )
        is_unfinished = leases.look(slug).operation == Operation.REWIND
        if found.restored is not None and found.restored > found.taken and not is_unfinished:
            raise CommandError(
                f"Tenant {slug!r} was restored already after its last migration, {shown(found.restored)}. To "
                f"go to before that migration, use --bookmark {found.bookmark}."
            )
        return found.bookmark, f"before its last migration, {shown(found.taken)}"

    def _print_undo(self, slug, bookmark):
        self.stdout.write(f"To undo this: manage.py tenant_restore {slug} --bookmark {bookmark}")

    def _ask(self, answer, text):
        self.stdout.write(text)
        try:
            given = input(f"Type {answer} to continue: ")
        except EOFError as error:
            raise CommandError(
                "Nothing was restored, because standard input is closed. Use --noinput to restore without "
                "asking."
            ) from error
        if given != answer:
            raise CommandError(f"Nothing was restored, because the answer is not {answer}.")

    def _advise(self, by_migration):
        """Print what the command can't do."""
        if by_migration and conf("CATCH_UP"):
            self.stderr.write(
                self.style.WARNING(
                    "The next use of the tenant by code that has the migration applies it again. Deploy the "
                    "earlier code first, or set DO_BRIDGE['CATCH_UP'] = False."
                )
            )
        warn_of_caches(self)

    # All tenants

    def _restore_all(self, options):
        try:
            found = bookmarks.before_migrations_since(options["since"])
            slugs = [slug for slug in registered_slugs() if slug in found]
        except Error as error:
            raise CommandError(f"The bookmarks can't be read: {error}") from error
        if not slugs:
            raise CommandError(_none_since(options["since"]))
        moments = sorted(found[slug].taken for slug in slugs)
        text = (
            f"{len(slugs)} tenants go back to before their migrations between {shown(moments[0])} and "
            f"{shown(moments[-1])}."
        )
        if options["interactive"]:
            self._ask(str(len(slugs)), f"{text} What was written since is gone.")
        elif options["verbosity"] >= 1:
            self.stdout.write(text)

        def work(slug):
            rewound = rewind_tenant(slug, found[slug].bookmark, keeps_schema=True)
            return Outcome(slug, f"undo: --bookmark {rewound.undo}", rewound.fingerprint)

        again = "Run the command again: it skips those that were restored."
        try:
            run_fleet(self, work, slugs, jobs=options["jobs"], verbosity=options["verbosity"], again=again)
        finally:
            if options["verbosity"] >= 1:
                self._advise(by_migration=True)


def _misuse(slug, options):
    """Return what is wrong with the combination of arguments, or an empty text."""
    is_whole = options["all"]
    if is_whole and slug:
        return "Name one tenant or use --all, not both."
    if not is_whole and not slug:
        return "Name one tenant, or use --all."
    if is_whole and not options["before_migration"]:
        return "--all can only go back to before a migration. Use it with --before-migration."
    if is_whole and options["since"] is None:
        return "--all needs the time at which the migration began. Add --since TIME."
    if not is_whole and options["since"] is not None:
        return "--since chooses among all tenants. Use it with --all, or leave it out."
    return "--jobs must be 1 or more." if options["jobs"] < 1 else ""


def _none_since(moment):
    """Return why there is no tenant to take back."""
    if bookmarks.were_migrations_since(moment):
        return f"All tenants that were migrated since {shown(moment)} were restored already."
    if not conf("BOOKMARKS"):
        return (
            f"No bookmark from before a migration since {shown(moment)} is kept. {_switched_off()}Take each "
            "tenant back with `manage.py tenant_restore SLUG --to TIME`."
        )
    return f"No tenant with data was migrated since {shown(moment)}. Check the time, which is in UTC here."


def _switched_off():
    return "" if conf("BOOKMARKS") else "DO_BRIDGE['BOOKMARKS'] is False, so migrations keep none. "


def _not_restored(slug, error):
    return f"Tenant {slug!r} was not restored. {str(error).rstrip('.')}."


def _failure(slug, error):
    row = leases.look(slug)
    text = _not_restored(slug, error)
    if row.operation == Operation.REWIND and not row.is_live:
        text += (
            " The tenant is not used until you run the command again, or restore the bookmark that undoes it."
        )
    return text
