"""One line for what may well fail: a command that cannot reach a database ends without a traceback."""

import sys
from pathlib import Path

from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

from do_bridge import driver

_PROGRAMS = {"manage.py", "django-admin", "django-admin.exe", "__main__.py"}


def expect_failures(argv, hooks=sys):
    """Let an expected failure of the command that `argv` starts be told in one line; `hooks` has the hook.

    It is Python's own hook for what nobody has caught, so that it works for everybody's commands. Whoever
    calls a command in code gets its exception as ever, and `--traceback` shows the whole of it.
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
    """Say whether an error is the database's or the network's, and no mistake in a program."""
    # A schema that is not the code's, and a tenant that is gone, are OperationalErrors, too.
    return isinstance(error, OperationalError | InterfaceError) and (
        isinstance(error.__cause__, driver.Error) or type(error).__module__.startswith("do_bridge.")
    )


def one_line(error):
    """Return an error's message on one line, with the way out if its tables are not there."""
    text = " ".join(str(error).split()).rstrip(".") + "."
    return f"{text} Run `manage.py migrate` first." if is_without_tables(error) else text


def is_without_tables(error):
    """Say whether a database was asked that nobody has migrated."""
    return "no such table" in str(error)
