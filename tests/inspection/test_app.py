"""The inspection as an app: what it checks, and that a project without it loses nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from do_bridge.inspection.checks import check_apps
from do_bridge.testing import empty_object
from tests.site.conftest import site, site_rows  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from accounts.models import User

settings.ALLOWED_HOSTS = ["testserver"]
call_command("flush", interactive=False, verbosity=0)
call_command("create_tenant", "plain", verbosity=0)
call_command("migrate", database="tenant", verbosity=0)
call_command("check")
root = User.objects.create_superuser("root", password="a-pass-word")
client = Client()
client.force_login(root)
for path in ("/admin/", "/admin/accounts/tenant/", "/t/plain/admin/", "/t/plain/admin/blog/post/",
             "/admin/databases/", "/admin/switch/?tenant=pla", "/admin/switch/tenants.json?q=pla"):
    answer = client.get(path)
    print(path, answer.status_code, answer.headers.get("Location", ""))
    if path.endswith("tenants.json?q=pla"):
        print(answer.content.decode())
    elif answer.status_code == 200:
        assert "Browse this database" not in answer.content.decode()
        assert "All databases" not in answer.content.decode()
call_command("tenant_delete", "plain", yes=True, verbosity=0)
"""


@pytest.fixture
def emptied(django_db_setup, django_db_blocker):
    """Run with a tenant `plain`, whose object is emptied again."""
    with django_db_blocker.unblock():
        yield
        empty_object("tenant/plain")


def test_a_project_without_the_app_keeps_its_admin_tenants_and_commands(emptied):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.inspection.without"}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("manage.py", "migrate", "--verbosity", "0")
    said = run("-c", PROJECT)
    for path in ("/admin/", "/admin/accounts/tenant/", "/t/plain/admin/", "/t/plain/admin/blog/post/"):
        assert f"{path} 200" in said
    assert "/admin/databases/ 404" in said
    assert "/admin/switch/?tenant=pla 302 /t/pla/admin/" in said
    assert "plain" in said.splitlines()[-1]


@pytest.mark.parametrize("name", ["do_bridge", "django.contrib.admin"])
def test_a_missing_app_that_it_needs_is_an_error_of_the_checks(name, monkeypatch):
    monkeypatch.setattr("do_bridge.inspection.checks.apps.is_installed", lambda app: app != name)
    (found,) = check_apps()
    assert found.id == "do_bridge.E019"
    assert name in found.msg


def test_the_saved_queries_have_all_their_migrations(site):  # noqa: F811 - a fixture's name
    call_command("makemigrations", "do_bridge_inspection", check=True, dry_run=True, verbosity=0)
