"""A command that cannot reach its databases says so in one line; a mistake in a program has its traceback."""

import os

import pytest

from do_bridge.relay import ports
from tests import forking
from tests.conftest import DATABASE_ID, site_environment


@pytest.fixture
def manage(local_worker):
    """manage(*arguments, **settings): the ended process of a command, as typed in a terminal."""

    def run(*arguments, **settings):
        environment = {"PATH": os.environ["PATH"], **site_environment(local_worker), **settings}
        return forking.run(["manage.py", *arguments], env=environment)

    return run


@pytest.mark.parametrize(
    "command",
    [
        "migrate",
        "migrate --database tenant",
        "migrate --database tenant/acme",
        "createsuperuser --noinput --username root --email root@blog.example",
        "seed_demo",
        "sync_members",
        "showmigrations",
        "create_tenant acme",
        "dumpdata accounts",
    ],
)
def test_a_command_without_a_relay_says_so_in_one_line(manage, local_worker, command):
    url = f"http://{ports.HOST}:{ports.free_port()}"
    done = manage(*command.split(), RELAY_URL=url, DJANGO_SUPERUSER_PASSWORD="a-secret-of-roots")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("CommandError: ")
    assert url.removeprefix("http://") in lines[0]
    for secret in (local_worker.token, "a-secret-of-roots"):
        assert secret not in done.stderr


def test_a_database_that_nobody_has_migrated_and_a_wrong_token_are_told_in_one_line(manage):
    empty = manage(
        "createsuperuser", "--noinput", "--username", "root", CLOUDFLARE_DATABASE_ID=DATABASE_ID.format(3)
    )
    assert "Traceback" not in empty.stderr
    assert "Run `manage.py migrate` first." in empty.stderr.splitlines()[-1]
    refused = manage("sync_members", RELAY_TOKEN="another-token-of-32-characters-or-more")
    assert refused.stderr.startswith("CommandError: ")
    assert refused.stderr.count("\n") == 1
    assert "another-token" not in refused.stderr


def test_the_traceback_is_there_for_whoever_asks_and_for_a_mistake_in_a_program(manage):
    asked = manage("sync_members", "--traceback", RELAY_TOKEN="another-token-of-32-characters-or-more")
    assert "Traceback (most recent call last)" in asked.stderr
    mistake = manage("shell", "--no-imports", "-c", "raise ValueError('mine')")
    assert mistake.stderr.startswith("Traceback")
    assert mistake.stderr.endswith("ValueError: mine\n")
