"""`manage.py test --parallel` on both engines, however processes start: Python 3.14 forks them no more."""

import os
import subprocess
import sys

import pytest
from engine_aliases import DATABASE_ID

SETTINGS = """
import os

SECRET_KEY = "for tests alone"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.sites"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SITE_ID = 1
RELAY = {{"HOST": os.environ["RELAY_URL"], "PASSWORD": os.environ["RELAY_TOKEN"]}}
DATABASES = {{"default": {{**{database!r}, **RELAY}}}}
"""
CASES = """
from django.contrib.sites.models import Site
from django.test import TestCase, TransactionTestCase


class Writes(TransactionTestCase):
    def test_rows_are_those_of_this_test(self):
        Site.objects.create(domain="one.example", name="one")
        self.assertEqual(Site.objects.filter(name="one").count(), 1)


class MoreWrites(Writes):
    pass


class InBlocks(TestCase):
    def test_rows_are_those_of_this_test(self):
        Site.objects.create(domain="one.example", name="one")
        self.assertEqual(Site.objects.filter(name="one").count(), 1)

    def test_the_first_site_is_there(self):
        self.assertEqual(Site.objects.get().domain, "example.com")
"""
RUN = """
import multiprocessing
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    execute_from_command_line(["manage.py", "test", "--parallel", "2", "test_cases"])
"""
DATABASES = {
    "durable_object": {"ENGINE": "do_bridge.backends.durable_object", "NAME": "parallel"},
    "d1": {
        "ENGINE": "do_bridge.backends.d1",
        "NAME": DATABASE_ID.format(0),
        "OPTIONS": {"transport": "relay"},
        "TEST": {
            "NAME": DATABASE_ID.format(6),
            "CLONES": [DATABASE_ID.format(7), DATABASE_ID.format(8)],
        },
    },
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", sorted(DATABASES))
def test_djangos_runner_tests_in_several_processes(kind, method, local_worker, tmp_path):
    if method == "forkserver":
        pytest.importorskip("django.tasks", reason="Django 5.2 knows no such processes.")
    files = {
        "settings.py": SETTINGS.format(database=DATABASES[kind]),
        "test_cases.py": CASES,
        "run.py": RUN,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {"RELAY_URL": local_worker.url, "RELAY_TOKEN": local_worker.token}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    command = [sys.executable, "run.py", method]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr
