"""Starts management commands in processes of their own, on this test run's databases."""

import json
import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.db import connections

PROGRAM = Path(__file__).parent / "other_process.py"


def start(*arguments, kill=None, folder=None, directory=None):
    """Start `manage.py` with these arguments; return the process.

    `kill` is (to, text, at, sent) as other_process.py takes them, `folder` holds the newer code's migrations,
    `directory` is another D1 database than this run's.
    """
    package = settings.MIGRATION_MODULES.get("blog")
    orders = {
        "arguments": [*map(str, arguments)],
        "directory": directory or connections["default"].settings_dict["NAME"],
        "objects": settings.DATABASES["tenant"]["NAME"],
        "migrations": [str(folder), package] if package else None,
        "kill": dict(zip(("to", "text", "at", "sent"), kill, strict=True)) if kill else None,
    }
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ},
    )
    process.stdin.write(json.dumps(orders))
    process.stdin.close()
    return process


def finish(process, seconds=60):
    """Wait for a process; return (exit code, what it wrote)."""
    with process:
        output = process.stdout.read()
        return process.wait(seconds), output
