"""`make` and CI run the tests on each series of Django that is supported, and say on which."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from do_bridge import django_compat

ROOT = Path(__file__).resolve().parents[2]
SERIES = [f"{major}.{minor}" for major, minor in django_compat.SERIES]
OTHERS = SERIES[1:]


def make(folder, *arguments):
    """Run `make` there, outside of the `make test` that may be around this test."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "DJANGO"))}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, check=False)


def test_the_series_are_the_same_everywhere():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^ALL_SERIES := (.*)$", makefile, re.MULTILINE)[1].split() == SERIES
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    pairs = re.findall(r'- { django: "(.*)", python: "(.*)" }', workflow)
    assert {django for django, _ in pairs} == set(SERIES)
    assert {python for _, python in pairs} == {"3.11", "3.12", "3.13", "3.14"}
    for series in OTHERS:
        (pin,) = (
            line for line in (ROOT / f"tests/series/{series}.txt").read_text().splitlines() if "==" in line
        )
        assert pin.startswith(f"django=={series}.")
        assert f"\n{pin} \\\n" in (ROOT / f"tests/series/{series}-lock.txt").read_text()


@pytest.mark.parametrize("series", OTHERS)
def test_a_series_has_an_environment_and_a_lock_of_its_own(series):
    done = make(ROOT, "-n", "-W", f"tests/series/{series}-lock.txt", "pytest", f"DJANGO={series}")
    assert done.returncode == 0, done.stderr
    assert f".venv-{series}/bin/python -m pytest" in done.stdout
    assert ".venv/bin/python -m pytest" not in done.stdout


def test_a_series_that_is_not_supported_is_refused_with_those_that_are():
    done = make(ROOT, "-n", "test", "DJANGO=5.1")
    assert done.returncode != 0
    assert f"DJANGO=5.1 is not supported. Use one of {' '.join(SERIES)}" in done.stderr


@pytest.mark.parametrize(
    ("version", "arguments", "told"),
    [
        (
            (3, 11),
            [],
            ["Django 5.2.", "Newer series need Python 3.12: make test DJANGO=6.1 PYTHON=python3.13"],
        ),
        ((3, 12), [], ["Django 6.1, and a sample of them on Django 5.2."]),
        ((3, 14), [], ["Django 6.1, and a sample of them on Django 5.2."]),
        ((3, 14), ["DJANGO=6.0"], ["Django 6.0."]),
        ((3, 14), ["DJANGO=5.2"], ["Django 5.2."]),
    ],
)
def test_make_test_says_on_which_series_it_runs(tmp_path, version, arguments, told):
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # A Python that gives itself out for this version.
    script = f'exec {sys.executable} -c "import sys; sys.version_info = {version}; $2"'
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    # Nothing is installed and no test is run.
    done = make(tmp_path, "test", "MAKE=true", "DEV_STAMP=", "NODE_STAMP=", *arguments)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("The tests run on ") for line in done.stdout.splitlines()]
    assert [line for line in lines if "Django" in line or "series" in line] == told
