"""Runs one of Django's commands for every tenant."""

import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from tqdm import tqdm

from do_bridge.tenancy.directory import registered_slugs

from .tenant_command import add_command_arguments, check_command, run_for_tenant


class Command(BaseCommand):
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
        slugs = _chosen(tenant)
        rows = []
        # The stream itself: Django's wrapper would end each step of the bar with a new line.
        hidden = verbosity < 1 or not self.stderr.isatty()
        with (
            ThreadPoolExecutor(jobs, thread_name_prefix="tenant") as pool,
            tqdm(total=len(slugs), unit="tenant", file=self.stderr._out, disable=hidden) as bar,
        ):
            outcomes = pool.map(lambda slug: _run(slug, command_name, arguments), slugs)
            for row, text in outcomes:
                bar.update()
                self._show(row[0], text)
                rows.append(row)
        self._report(rows, verbosity)

    def _show(self, slug, text):
        if text.strip():
            self.stdout.write(self.style.MIGRATE_HEADING(f"== {slug}"))
            self.stdout.write(text, ending="" if text.endswith("\n") else "\n")

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
            raise CommandError(f"{len(failures)} of {len(rows)} tenants failed: {names}.")


def _chosen(wanted):
    """Return the slugs of all tenants, or of those wanted. Raises CommandError for one that is none."""
    slugs = registered_slugs()
    unknown = sorted(set(wanted) - set(slugs))
    if unknown:
        raise CommandError(f"No such tenant: {', '.join(map(repr, unknown))}.")
    return [slug for slug in slugs if not wanted or slug in wanted]


def _run(slug, name, arguments):
    """Return ((slug, what became of it, seconds, whether it failed), what the command wrote)."""
    out = StringIO()
    start = time.monotonic()
    outcome, failed = "ok", False
    try:
        run_for_tenant(slug, name, arguments, stdout=out, stderr=out)
    except SystemExit as stop:  # migrate --check and its like end so
        failed = bool(stop.code)
        outcome = f"ended with {stop.code}" if failed else "ok"
    except Exception as error:
        # Whatever the command raises concerns this tenant alone; the others go on.
        outcome, failed = f"{type(error).__name__}: {error}", True
    finally:
        # This thread's, the shared database's among them: nobody else would close them.
        connections.close_all()
    return (slug, outcome, time.monotonic() - start, failed), out.getvalue()
