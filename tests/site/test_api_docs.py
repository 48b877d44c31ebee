"""The page about the HTTP API: its commands run as they stand, and answer what the page shows."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from accounts import tokens
from accounts.models import ApiToken, User

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/http-api.md").read_text()
#: The commands in order, each with the answer that follows it, if any.
COMMANDS = re.findall(r"```bash\n(curl .*?)```\n(?:\n```json\n(.*?)```)?", PAGE, re.DOTALL)

BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def shape(value):
    """Return the keys and types of an answer, without its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_each_command_of_the_page_runs_and_answers_what_the_page_shows(server, site, settings):
    settings.MIGRATE_TOKEN = "for-the-docs"
    _, token = tokens.create(site.root, "docs")
    environment = os.environ | {"SITE": server, "TOKEN": token, "MIGRATE_TOKEN": "for-the-docs"}
    environment |= {"no_proxy": "localhost"}
    assert len(COMMANDS) == 5
    for command, shown in COMMANDS:
        done = subprocess.run(
            [BASH, "-c", command], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        answer = json.loads(done.stdout)
        if shown and "migrate" not in command:
            assert shape(answer) == shape(json.loads(shown)), command
        elif shown:
            assert shape(answer)["d1"].keys() == json.loads(shown)["d1"].keys()
    assert User.objects.filter(username="dee").exists()
    ApiToken.objects.all().delete()


def test_the_page_names_every_status_that_the_code_answers():
    code = "".join(
        (Path(__file__).resolve().parents[2] / name).read_text()
        for name in ("accounts/api.py", "accounts/api_access.py", "project/api_errors.py", "project/views.py")
    )
    answered = set(re.findall(r"(?:status=|refusal\(\s*|^    )([2345]\d\d)\b", code, re.MULTILINE))
    assert answered >= {"401", "403", "404", "405"}
    assert {status for status in answered if f"| {status} |" not in PAGE} <= {"200"}
