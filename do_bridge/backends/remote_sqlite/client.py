"""`manage.py dbshell`: a SQL prompt over the driver, since no client program reaches these databases."""

import sys

from django.core.management.base import CommandError
from django.db.backends.base.client import BaseDatabaseClient
from django.dispatch import Signal

from .introspection import NOT_INTERNAL
from .shell import Shell

#: Sent with `connection` before a prompt opens there; a receiver refuses it by an exception.
shell_opens = Signal()

FROM_SCHEMA = f"FROM sqlite_master WHERE {NOT_INTERNAL} AND"
COMMANDS = {
    ".tables": f"SELECT name {FROM_SCHEMA} type IN ('table', 'view') ORDER BY name",
    ".schema": f"SELECT sql || ';' {FROM_SCHEMA} sql IS NOT NULL ORDER BY tbl_name, rowid",
}


class DatabaseClient(BaseDatabaseClient):
    executable_name = "dbshell"

    def runshell(self, parameters):
        """Read statements from stdin and print their results; CommandError if one of a pipe's failed."""
        if parameters:
            raise CommandError("dbshell takes no arguments here: there is no client program to give them to.")
        shell_opens.send(sender=type(self), connection=self.connection)
        self.connection.ensure_connection()
        shell = Shell(self.connection, sys.stdin, sys.stdout, sys.stderr, COMMANDS)
        if shell.run():
            raise CommandError("A statement failed; those before it stand, those after it did not run.")
