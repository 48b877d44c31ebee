"""Runs one of Django's commands for one tenant."""

import argparse

from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import connections

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.context import tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import InvalidSlug, tenant_alias
from do_bridge.tenancy.tenants import is_registered

_ACCOUNTS = (
    "people sign in by the shared database, and a tenant's holds copies without a password. Run it alone"
)
_SHARED = "it works on what all tenants share. Run it alone"
_NESTED = "it chooses its tenants by itself. Run it alone"
REFUSED = {
    "createsuperuser": f"{_ACCOUNTS}, and make the user a member by `create_tenant SLUG --member NAME`",
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
    "empty_scratch": _SHARED,
    "tenant_command": _NESTED,
    "all_tenants_command": _NESTED,
    "tenant_dump": _NESTED,
    "tenant_load": _NESTED,
    "load_sqlite": "it fills a whole database. `tenant_load SLUG FILE` makes a tenant of a file",
    "tenant_copy": _NESTED,
    "tenant_delete": _NESTED,
    "sync_members": _NESTED,
}


class Command(TenantsCommand):
    """The tenant is current, and a command that takes `--database` gets the tenant's."""

    help = (
        "Runs a command for one tenant, e.g. dumpdata, loaddata, showmigrations, shell; "
        "options of this command come before SLUG, those of the other one after its name."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug")
        add_command_arguments(parser)

    def handle(self, *, slug, command_name, arguments, **options):
        try:
            tenant_alias(slug)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error
        if not is_registered(slug):
            raise CommandError(f"There is no tenant {slug!r}.")
        run_for_tenant(slug, command_name, arguments, stdout=self.stdout, stderr=self.stderr)


def add_command_arguments(parser):
    """Let a parser take a command's name and everything behind it."""
    parser.add_argument("command_name", metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its own arguments and options")


def check_command(name, arguments):
    """Raise CommandError for a command that is none, is not a tenant's, or names a database by itself."""
    if name in REFUSED:
        raise CommandError(f"{name} is no command for a tenant: {REFUSED[name]}.")
    if name not in get_commands():
        raise CommandError(f"There is no command {name!r}.")
    if any(argument.partition("=")[0] == "--database" for argument in arguments):
        raise CommandError("Leave --database out: the tenant's own is given.")


def run_for_tenant(slug, name, arguments, **streams):
    """Run the command with the tenant current and its alias as `--database`; raise what the command raises.

    `streams` are `stdout` and `stderr`. The thread's connection to the tenant is closed afterwards.
    """
    check_command(name, arguments)
    command = _load(name)
    alias = tenant_alias(slug)
    parser = command.create_parser("manage.py tenant_command", name)
    # Not as text: the parser's choices are the databases that are listed, which tenants are not.
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
