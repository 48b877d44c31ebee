"""Runs one of Django's commands for every tenant."""

from io import StringIO
from threading import Lock

from django.core.management.base import CommandError
from django.db import connections
from tqdm import tqdm

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.migrate.fleet import Fleet, Outcome
from do_bridge.tenancy.tenants import registered_slugs

from .tenant_command import add_command_arguments, check_command, run_for_tenant


class Command(TenantsCommand):
    """Goes on past failures, and ends with a table and an error that names those that failed."""

    help = (
        "Runs a command for every tenant, e.g. showmigrations; options of this command come before COMMAND, "
        "those of the other one after it."
    )

    def add_arguments(self, parser):
        parser.add_argument("--jobs", type=int, default=1, help="tenants at once; default %(default)s")
        parser.add_argument(
            "--tenant", action="append", default=[], metavar="SLUG", help="This one alone; may be repeated."
        )
        add_command_arguments(parser)

    def handle(self, *, command_name, arguments, jobs, tenant, verbosity, **options):
        if jobs < 1:
            raise CommandError("--jobs is at least 1.")
        check_command(command_name, arguments)
        if command_name in ("shell", "dbshell"):
            raise CommandError(f"{command_name} is for one tenant: use tenant_command SLUG {command_name}.")
        slugs, lock = _chosen(tenant), Lock()

        def work(slug):
            outcome, text = _run(slug, command_name, arguments)
            with lock:
                self._show(slug, text)
            return outcome

        fleet = Fleet(work, jobs=jobs)
        # The stream itself: Django's wrapper would end each step of the bar with a new line.
        hidden = verbosity < 1 or not self.stderr.isatty()
        with tqdm(total=len(slugs), unit="tenant", file=self.stderr._out, disable=hidden) as bar:
            fleet.run(slugs, bar)
        self._report(fleet, len(slugs), verbosity)

    def _show(self, slug, text):
        if text.strip():
            self.stdout.write(self.style.MIGRATE_HEADING(f"== {slug}"))
            self.stdout.write(text, ending="" if text.endswith("\n") else "\n")

    def _report(self, fleet, total, verbosity):
        outcomes = sorted(fleet.outcomes, key=lambda outcome: outcome.slug)
        failures = [outcome.slug for outcome in outcomes if outcome.failed]
        if verbosity >= 1:
            width = max((len(outcome.slug) for outcome in outcomes), default=0)
            for one in outcomes:
                told = self.style.ERROR(one.error) if one.failed else self.style.SUCCESS(one.text)
                self.stdout.write(f"  {one.slug:<{width}}  {one.seconds:6.1f} s  {told}")
            self.stdout.write(f"{len(outcomes)} tenants, {len(failures)} failed.")
        if fleet.interrupted:
            raise CommandError(
                f"Interrupted after {len(outcomes)} of {total} tenants; the others are as they were.",
                returncode=130,
            )
        if failures:
            raise CommandError(f"{len(failures)} of {len(outcomes)} tenants failed: {', '.join(failures)}.")


def _chosen(wanted):
    """Return the slugs of all tenants, or of those wanted. Raises CommandError for one that is none."""
    slugs = registered_slugs()
    unknown = sorted(set(wanted) - set(slugs))
    if unknown:
        raise CommandError(f"No such tenant: {', '.join(map(repr, unknown))}.")
    return [slug for slug in slugs if not wanted or slug in wanted]


def _run(slug, name, arguments):
    """Return (the Outcome, what the command wrote)."""
    out, error = StringIO(), ""
    try:
        run_for_tenant(slug, name, arguments, stdout=out, stderr=out)
    except SystemExit as stop:  # migrate --check and its like end so
        error = f"ended with {stop.code}" if stop.code else ""
    except Exception as failure:
        # Whatever the command raises concerns this tenant alone; the others go on.
        error = f"{type(failure).__name__}: {failure}"
    finally:
        # This thread's, the shared database's among them: nobody else would close them.
        connections.close_all()
    return Outcome(slug, error=error), out.getvalue()
