"""Django's checks pass, the site's own find what they should, and no model waits for a migration."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command

from project.checks import check_migrate_token
from tests import forking

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("deploy", [False, True], ids=["check", "check --deploy"])
def test_the_system_checks_find_no_error(deploy):
    call_command("check", deploy=deploy, fail_level="ERROR")


def test_no_model_has_changed_without_a_migration(local_worker):
    done = forking.run(["manage.py", "makemigrations", "--check", "--dry-run"])
    assert done.returncode == 0, done.stdout + done.stderr


GOOD_TOKEN = "Qm7vT2xk9LpR4sW8yB3nZ6cF1hJ5gD0a"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", []),
        (GOOD_TOKEN, []),
        ("tooshort", ["project.W001"]),
        ("abcabcabc" * 8, ["project.W001"]),
        ("the secret key", ["project.W002"]),
        ("an older secret key", ["project.W002"]),
        ("the relay's token", ["project.W002"]),
    ],
)
def test_a_token_for_migrating_that_can_be_guessed_or_opens_more_is_warned_about(settings, token, expected):
    settings.SECRET_KEY = GOOD_TOKEN.lower()
    settings.SECRET_KEY_FALLBACKS = [GOOD_TOKEN[::-1]]
    relay = settings.DATABASES["tenant"]["PASSWORD"]
    named = {
        "the secret key": settings.SECRET_KEY,
        "an older secret key": GOOD_TOKEN[::-1],
        "the relay's token": relay,
    }
    settings.MIGRATE_TOKEN = named.get(token, token)
    found = check_migrate_token()
    assert [warning.id for warning in found] == expected
    assert not token or settings.MIGRATE_TOKEN not in str(found)


def test_the_sites_own_checks_are_documented():
    pattern = r"project\.[EW]\d{3}"
    listed = re.findall(
        rf"^\| `({pattern})` \|", (ROOT / "docs" / "reference" / "checks.md").read_text(), re.MULTILINE
    )
    assert listed == re.findall(pattern, (ROOT / "project" / "checks.py").read_text())
