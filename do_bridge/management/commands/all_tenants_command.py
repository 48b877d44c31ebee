"""The command all_tenants_command: run another command for each tenant."""

from io import StringIO
from threading import Lock

from django.core.management.base import CommandError
from django.db import connections

from do_bridge.management.base import TenantsCommand
from do_bridge.management.fleets import run_fleet
from do_bridge.tenancy.migrate.fleet import Outcome
from do_bridge.tenancy.tenants import no_such_tenant, registered_slugs

from .tenant_command import add_command_arguments, check_command, run_for_tenant


class Command(TenantsCommand):
    """Continue after failures.

    Ends with a table of the tenants, and an error that names the failed ones.
    """

    help = (
        "Runs another command for each tenant, for example showmigrations. Write the options of "
        "all_tenants_command before COMMAND, and those of COMMAND after it."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--jobs", type=int, default=1, help="Number of tenants at once. Default: %(default)s."
        )
        parser.add_argument(
            "--tenant", action="append", default=[], metavar="SLUG", help="Only this tenant. Can be repeated."
        )
        add_command_arguments(parser)

    def handle(self, *, command_name, arguments, jobs, tenant, verbosity, **options):
        if jobs < 1:
            raise CommandError("--jobs must be 1 or more.")
        check_command(command_name, arguments)
        if command_name in ("shell", "dbshell"):
            raise CommandError(
                f"{command_name} can't run for all tenants at once. Run `manage.py tenant_command SLUG "
                f"{command_name}` for one of them."
            )
        slugs, lock = _chosen(tenant), Lock()

        def work(slug):
            outcome, text = _run(slug, command_name, arguments)
            with lock:
                self._show(slug, text)
            return outcome

        again = "Run the command again for them with --tenant SLUG."
        run_fleet(self, work, slugs, jobs=jobs, verbosity=verbosity, again=again)

    def _show(self, slug, text):
        if text.strip():
            self.stdout.write(self.style.MIGRATE_HEADING(f"== {slug}"))
            self.stdout.write(text, ending="" if text.endswith("\n") else "\n")


def _chosen(wanted):
    """Return the registered slugs, or those in `wanted`.

    Raises CommandError for an unknown one.
    """
    slugs = registered_slugs()
    unknown = sorted(set(wanted) - set(slugs))
    if unknown:
        raise CommandError(no_such_tenant(*unknown))
    return [slug for slug in slugs if not wanted or slug in wanted]


def _run(slug, name, arguments):
    """Run the command for one tenant; return its Outcome and its output."""
    out, error = StringIO(), ""
    try:
        run_for_tenant(slug, name, arguments, stdout=out, stderr=out)
    except SystemExit as stop:  # for example `migrate --check`
        error = f"ended with {stop.code}" if stop.code else ""
    except Exception as failure:
        # The command may raise anything, and must not stop the other tenants.
        error = f"{type(failure).__name__}: {failure}"
    finally:
        # Connections are bound to this thread, which nobody else cleans up.
        connections.close_all()
    return Outcome(slug, error=error), out.getvalue()
