"""Which modules a process loads before it needs them: the start of each command pays for every one."""

import json
import subprocess
import sys

import pytest

DRIVER = """
from do_bridge import driver
driver.connect(driver.relay("http://127.0.0.1:1", "t" * 40), "do:name", timeout=1)
"""
SITE = "import django; django.setup()"
CHECK = SITE + "; from django.core.management import call_command; call_command('check')"

# Each took 1 to 25 milliseconds of every start.
LATE = {
    "django.test": "test helpers",
    "httpx": "D1's REST API",
    "websockets": "sessions with a relay",
    "tqdm": "progress bars",
    "urllib.request": "proxies of the environment",
    "importlib.metadata": "the version of websockets",
    "do_bridge.backends.sqlite_file.schema": "loads from SQLite files",
    "do_bridge.driver.speculation.transaction": "optimistic transactions",
    "do_bridge.inspection.database.pages": "the admin's pages about databases",
    "do_bridge.inspection.reading.queries": "the admin's pages about databases",
    "do_bridge.relay": "the commands of the relay",
    "do_bridge.testing": "test helpers",
}


def loaded(code):
    """The names of LATE, and Django's, that a new process has loaded after the code."""
    names = json.dumps([*LATE, "django"])
    tell = f"\nimport sys; print([name for name in {names} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def test_the_driver_alone_loads_neither_django_nor_a_library_that_it_may_not_need():
    assert loaded(DRIVER) == "[]"


@pytest.mark.parametrize("code", [SITE, CHECK])
def test_a_command_loads_nothing_that_it_may_not_need(code):
    assert loaded(code) == "['django']"
