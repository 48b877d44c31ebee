"""What runs every night: the long commands, each with a seed that is shown if it fails."""

import re
from pathlib import Path

from do_bridge import django_compat
from tests.applications.run import APPLICATIONS, TENANTS, TOOLS

SEEDED = ("torture", "leak", "lifecycle", "fuzz", "soak", "long")
ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "nightly.yml").read_text()
COMMANDS = re.findall(r"^          - (make .+)$", WORKFLOW, re.MULTILINE)
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target):
    """A target's own lines in the Makefile."""
    return re.search(rf"^{target}:.*\n((?:\t.*\n?)+)", MAKEFILE, re.MULTILINE)[1]


def test_every_long_command_runs_at_night_and_no_target_is_made_up():
    targets = {command.split()[1] for command in COMMANDS}
    assert targets == {*SEEDED, "applications", "django-suite"}
    assert all(recipe(target) for target in targets)


def test_every_application_has_a_job_of_its_own():
    assert set(re.findall(r"LABEL=(\S+)", WORKFLOW)) == {*APPLICATIONS, TENANTS, TOOLS}


def test_each_run_has_new_choices_that_the_report_of_a_failure_names():
    assert "SEED: ${{ github.run_id }}" in WORKFLOW
    assert 'run: ${{ matrix.command }} SEED="$SEED"' in WORKFLOW
    said = WORKFLOW.partition("if: failure()")[2]
    assert "SEED=$SEED" in said
    for target in SEEDED:
        assert "$(SEED)" in recipe(target), target


def test_what_decides_how_long_it_runs_is_something_that_the_target_takes():
    for command in COMMANDS:
        _, target, *values = command.split()
        for name in (value.partition("=")[0] for value in values):
            # DJANGO chooses the environment of the target's Python.
            taken = "$(ENVIRONMENT)" if name == "DJANGO" else f"$({name})"
            assert taken in recipe(target), command


def test_djangos_own_tests_run_on_each_engine_and_series():
    wanted = {
        f"make django-suite ENGINE={engine} DJANGO={major}.{minor}"
        for engine in ("durable_object", "d1")
        for major, minor in django_compat.SERIES
    }
    assert {command for command in COMMANDS if "django-suite" in command} == wanted
