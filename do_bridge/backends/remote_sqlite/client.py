"""`manage.py dbshell`: a SQL prompt over the driver.

No client program can connect to these databases.
"""

import sys

from django.core.management.base import CommandError
from django.db.backends.base.client import BaseDatabaseClient
from django.dispatch import Signal

from do_bridge.driver.internal import NOT_INTERNAL

from .shell import Shell

#: Sent with `connection` before a prompt opens; a receiver refuses it with an exception.
shell_opens = Signal()

FROM_SCHEMA = f"FROM sqlite_master WHERE {NOT_INTERNAL} AND"
COMMANDS = {
    ".tables": f"SELECT name {FROM_SCHEMA} type IN ('table', 'view') ORDER BY name",
    ".schema": f"SELECT sql || ';' {FROM_SCHEMA} sql IS NOT NULL ORDER BY tbl_name, rowid",
}


class DatabaseClient(BaseDatabaseClient):
    executable_name = "dbshell"

    def runshell(self, parameters):
        """Read statements from stdin and print their results.

        Raises CommandError if a piped statement failed.
        """
        if parameters:
            raise CommandError(
                "dbshell accepts no arguments here, because it starts no client program. Run "
                "`manage.py dbshell` and type or pipe SQL."
            )
        shell_opens.send(sender=type(self), connection=self.connection)
        self.connection.ensure_connection()
        shell = Shell(self.connection, sys.stdin, sys.stdout, sys.stderr, COMMANDS)
        if shell.run():
            raise CommandError(
                "A statement failed. The statements before it have been carried out; those after it "
                "did not run."
            )
