"""Django's own checks pass, and no model waits for a migration."""

import pytest
from django.core.management import call_command


@pytest.mark.parametrize("deploy", [False, True], ids=["check", "check --deploy"])
def test_the_system_checks_find_no_error(deploy):
    call_command("check", deploy=deploy, fail_level="ERROR")


def test_no_model_has_changed_without_a_migration(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
