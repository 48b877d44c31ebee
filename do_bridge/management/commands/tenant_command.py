"""The command tenant_command: run another command for one tenant."""

import argparse

from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import connections

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.context import tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import InvalidSlug, tenant_alias
from do_bridge.tenancy.tenants import is_registered, no_such_tenant

_ACCOUNTS = "users and their passwords are in the shared database. Run `manage.py {name}`"
_SHARED = "it works on what all tenants share. Run `manage.py {name}`"
_NESTED = "it chooses its own tenants. Run `manage.py {name}`"
REFUSED = {
    "createsuperuser": _ACCOUNTS + ", then `manage.py create_tenant SLUG --member USERNAME`",
    "changepassword": _ACCOUNTS,
    "clearsessions": _SHARED,
    "createcachetable": _SHARED,
    "makemigrations": _SHARED,
    "squashmigrations": _SHARED,
    "optimizemigration": _SHARED,
    "startapp": _SHARED,
    "startproject": _SHARED,
    "makemessages": _SHARED,
    "compilemessages": _SHARED,
    "collectstatic": _SHARED,
    "runserver": _SHARED,
    "test": _SHARED,
    "testserver": _SHARED,
    "create_tenant": _NESTED,
    "create_tenants": _NESTED,
    "empty_template_objects": _SHARED,
    "tenant_command": _NESTED,
    "all_tenants_command": _NESTED,
    "list_tenants": _NESTED,
    "tenant_rename": _NESTED,
    "tenant_backup": _NESTED,
    "tenant_restore_backup": _NESTED,
    "tenant_dump": _NESTED,
    "tenant_load": _NESTED,
    "load_sqlite": (
        "it fills a whole database. To create a tenant from a file, run `manage.py tenant_load SLUG FILE`"
    ),
    "tenant_copy": _NESTED,
    "tenant_delete": _NESTED,
    "sync_members": _NESTED,
}


class Command(TenantsCommand):
    """Run the command inside the tenant's context.

    It gets the tenant's alias as `--database`.
    """

    help = (
        "Runs another command for one tenant, for example dumpdata, loaddata, showmigrations or shell. "
        "Write the options of tenant_command before SLUG, and those of COMMAND after it."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        add_command_arguments(parser)

    def handle(self, *, slug, command_name, arguments, **options):
        try:
            tenant_alias(slug)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error
        if not is_registered(slug):
            raise CommandError(no_such_tenant(slug))
        run_for_tenant(slug, command_name, arguments, stdout=self.stdout, stderr=self.stderr)


def add_command_arguments(parser):
    """Add the arguments for another command's name and everything after it."""
    parser.add_argument("command_name", metavar="COMMAND", help="The name of the other command.")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="The arguments and options of COMMAND.")


def check_command(name, arguments):
    """Raise CommandError if the command can't run for a tenant.

    Commands for all tenants are refused, as are unknown commands and the option `--database`.
    """
    if name in REFUSED:
        raise CommandError(f"{name} can't run inside a tenant: {REFUSED[name].replace('{name}', name)}.")
    if name not in get_commands():
        raise CommandError(f"The command {name!r} does not exist. `manage.py help` lists all commands.")
    if any(argument.partition("=")[0] == "--database" for argument in arguments):
        raise CommandError("Leave --database out. The command runs on the tenant's own database.")


def run_for_tenant(slug, name, arguments, **streams):
    """Run a command for one tenant.

    The tenant is current, and its alias is passed as `--database`. `arguments` are strings as on a command
    line, `streams` are `stdout` and `stderr`. Closes the thread's connection to the tenant afterwards. Raises
    whatever the command raises.
    """
    check_command(name, arguments)
    command = _load(name)
    alias = tenant_alias(slug)
    parser = command.create_parser("manage.py tenant_command", name)
    # Passed as a keyword, because the parser's choices for --database do not include tenants.
    database = {"database": alias} if any(action.dest == "database" for action in parser._actions) else {}
    try:
        with tenant_context(slug):
            call_command(command, *map(str, arguments), **database, **streams)
    finally:
        if alias in tenant_databases().live_aliases() and not connections[alias].in_atomic_block:
            connections[alias].close()


def _load(name):
    app = get_commands()[name]
    return load_command_class(app, name) if isinstance(app, str) else app
