"""Django's own checks pass, and no model waits for a migration."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("deploy", [False, True], ids=["check", "check --deploy"])
def test_the_system_checks_find_no_error(deploy):
    call_command("check", deploy=deploy, fail_level="ERROR")


def test_no_model_has_changed_without_a_migration(local_worker):
    command = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
