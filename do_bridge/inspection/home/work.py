"""The actions of a tenant's home, which run the code of the commands.

Each returns a sentence or raises Refused.
"""

import logging
import tempfile
from io import StringIO
from pathlib import Path

from django.core.management import CommandError, call_command
from django.db import DatabaseError, InterfaceError

from do_bridge import driver

logger = logging.getLogger("do_bridge.inspection")


class Refused(Exception):
    """The work was not done; the message has the reason."""


def _run(command, *arguments, **options):
    """Run a command; return the warnings that it wrote."""
    told = StringIO()
    try:
        call_command(command, *arguments, verbosity=0, stdout=StringIO(), stderr=told, **options)
    except CommandError as error:
        raise Refused(str(error)) from error
    except (DatabaseError, InterfaceError, driver.Error, OSError) as error:
        logger.exception("%s failed", command)
        raise Refused(f"A database did not answer: {error}") from error
    return " ".join(told.getvalue().split())


def copy(slug, target, name):
    """Copy a tenant and its members."""
    told = _run("tenant_copy", slug, target, name=name or target)
    return f"Tenant {target} was made as a copy of {slug}. {told}".strip()


def restore(slug, upload):
    """Replace a tenant's data by an uploaded file."""
    with tempfile.TemporaryDirectory(prefix="tenant-upload-") as folder:
        path = Path(folder) / "upload.sqlite3"
        with path.open("wb") as file:
            for piece in upload.chunks():
                file.write(piece)
        told = _run("tenant_load", slug, str(path), replace=True, yes=True)
    return f"Tenant {slug} has the data of the file. {told}".strip()


def delete(slug):
    """Delete a tenant and all its data."""
    _run("tenant_delete", slug, yes=True)
    return f"Tenant {slug} was deleted."
