"""From nothing, with the built wheel: a fresh environment ends in two tenants, a page and tests."""

import os
import resource
import subprocess
import sys
import time
import venv

import pytest

from tests.infra.pages import ROOT
from tests.infra.proven import is_proven
from tests.infra.tutorial import COMMANDS, Tutorial

pytestmark = pytest.mark.skipif(is_proven(), reason="the package is as when it was last proven")
INSTALL, *_ = COMMANDS
# Of the processor, which other work on the machine does not stretch: five minutes of a reader's time.
MOST_SECONDS = 300
LEFT_OUT = ("PYTHON", "DJANGO", "VIRTUAL_ENV", "RELAY_", "CLOUDFLARE_", "D1_", "SECRET_KEY", "COVERAGE")


@pytest.fixture
def wheel(tmp_path):
    """The package, built from this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(command, check=True)
    (built,) = tmp_path.glob("do_bridge-*.whl")
    return built


@pytest.mark.timeout(900)
def test_the_tutorial_works_from_nothing_with_the_built_wheel(tmp_path, wheel, capsys):
    folder, environment = tmp_path / "new", tmp_path / "environment"
    folder.mkdir()
    venv.create(environment, with_pip=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    variables["PATH"] = f"{environment / 'bin'}:/usr/bin:/bin"
    variables["DO_BRIDGE_CACHE"] = str(tmp_path / "cache")
    assert '"do-bridge[local]"' in INSTALL
    install = INSTALL.replace('"do-bridge[local]"', f'"{wheel}[local]"')
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with Tutorial(folder, variables, {INSTALL: install}) as tutorial:
        tutorial.walk()
        seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        sys.stdout.write(f"\nthe tutorial from nothing: {seconds:.0f} s, {used:.0f} s of the processor\n")
    assert "2 passed" in tutorial.printed[-1]
    assert used < MOST_SECONDS
