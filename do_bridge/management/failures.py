"""Print one line instead of a traceback if a command cannot reach a database."""

import sys
from pathlib import Path

from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

from do_bridge import driver
from do_bridge.backends.remote_sqlite.refusals import is_missing_table

_PROGRAMS = {"manage.py", "django-admin", "django-admin.exe", "__main__.py"}


def expect_failures(argv, hooks=sys):
    """Print expected failures of the command in `argv` on one line.

    `hooks` is the module whose `excepthook` is replaced. Python calls this hook for uncaught exceptions, so
    it works for all commands. Code that calls a command gets the exception as usual. `--traceback` shows the
    whole traceback.
    """
    if len(argv) < 2 or Path(argv[0]).name not in _PROGRAMS or "--traceback" in argv:
        return
    before = hooks.excepthook

    def show(kind, error, trace):
        if is_expected(error):
            sys.stderr.write(f"{CommandError.__name__}: {one_line(error)}\n")
        else:
            before(kind, error, trace)

    hooks.excepthook = show


def is_expected(error):
    """Return whether an error comes from the database or the network."""
    # SchemaMismatch and a deleted tenant are OperationalErrors, too.
    return isinstance(error, OperationalError | InterfaceError) and (
        isinstance(error.__cause__, driver.Error) or type(error).__module__.startswith("do_bridge.")
    )


def one_line(error):
    """Return an error's message on one line.

    It names `migrate` if a table does not exist.
    """
    text = " ".join(str(error).split()).rstrip(".") + "."
    return f"{text} Run `manage.py migrate` first." if is_missing_table(error) else text
