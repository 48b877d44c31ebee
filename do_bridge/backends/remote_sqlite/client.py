"""`manage.py dbshell`: a small SQL prompt over the driver, since no client program reaches these databases."""

import sys

from django.core.management.base import CommandError
from django.db.backends.base.client import BaseDatabaseClient

from .introspection import NOT_INTERNAL
from .shell import Shell

HELP_COMMANDS = {
    ".tables": f"SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND {NOT_INTERNAL} ORDER BY name",  # noqa: S608
    ".schema": f"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND {NOT_INTERNAL} ORDER BY tbl_name, rowid",  # noqa: S608
}


class DatabaseClient(BaseDatabaseClient):
    executable_name = "dbshell"

    def runshell(self, parameters):
        """Read statements from stdin and print their results; CommandError if one of a pipe's failed."""
        if parameters:
            raise CommandError("dbshell takes no arguments here: there is no client program to give them to.")
        self.connection.ensure_connection()
        shell = Shell(self.connection, sys.stdin, sys.stdout, sys.stderr, HELP_COMMANDS)
        if shell.run():
            raise CommandError("A statement failed; those before it stand, those after it did not run.")
