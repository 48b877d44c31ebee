"""Starts management commands in processes of their own, on this test run's databases."""

import json
from pathlib import Path

from django.conf import settings
from django.db import connections

from tests.forking import Program

PROGRAM = Path(__file__).parent / "other_process.py"


def start(*arguments, kill=None, folder=None, directory=None, backups=None):
    """Start `manage.py` with these arguments; return the process.

    `kill` is (to, text, at, sent) as other_process.py takes them, `folder` holds the newer code's migrations,
    `directory` is another D1 database than this run's, `backups` the folder of STORAGES["backups"].
    """
    package = settings.MIGRATION_MODULES.get("blog")
    orders = {
        "arguments": [*map(str, arguments)],
        "directory": directory or connections["default"].settings_dict["NAME"],
        "objects": settings.DATABASES["tenant"]["NAME"],
        "migrations": [str(folder), package] if package else None,
        "relay": [settings.DATABASES["tenant"]["HOST"], settings.DATABASES["tenant"]["PASSWORD"]],
        "backups": backups,
        "kill": dict(zip(("to", "text", "at", "sent"), kill, strict=True)) if kill else None,
    }
    return Program([PROGRAM], text=json.dumps(orders))


def finish(process):
    """Wait for a process; return (exit code, what it wrote)."""
    code = process.wait()
    return code, process.stdout + process.stderr
