"""What do_bridge.contrib does without the packages that it integrates; with them it runs every night."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from do_bridge.relay.processes import end_group
from tests.applications import programs
from tests.applications.integrations import run
from tests.production import place_for_data

FILES = ["check_queue.py", "check_server_timing.py"]
if find_spec("django.tasks"):
    FILES.append("check_tasks.py")
# A module and the package that it needs, which `import do_bridge` and the other modules do not.
NEEDS = {
    "celery": "celery",
    "debug_toolbar": "debug_toolbar",
    "opentelemetry": "opentelemetry",
    "tasks.framework": "django_tasks",
}


@pytest.mark.parametrize("name", FILES)
def test_the_tests_of_contrib_pass_in_a_project_of_their_own(name):
    values = programs.environment(TASKS_ONCE="")
    if place := place_for_data():
        values["TMPDIR"] = str(place)
    process = subprocess.Popen(
        [*run.command(sys.executable, (name,)), "-q"],
        cwd=run.HERE,
        env=values,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=390)
    finally:
        end_group(process.pid)
        process.wait()
    assert process.returncode == 0, output
    assert " passed" in output
    assert "failed" not in output


@pytest.mark.parametrize("name", ["", "channels", "server_timing", "observing", "tasks", "tasks.queue"])
def test_a_module_that_needs_no_package_imports_none(name):
    module = ".".join(filter(None, ("do_bridge.contrib", name)))
    code = (
        "import sys, django; django.setup(); import importlib; importlib.import_module(sys.argv[1]); "
        f"print([name for name in {[*NEEDS.values(), 'channels']} if name in sys.modules])"
    )
    values = programs.environment(DJANGO_SETTINGS_MODULE="tests.applications.integrations.settings")
    values["PYTHONPATH"] = str(programs.ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code, module], env=values, capture_output=True, text=True, check=False
    )
    # The settings of the project install the toolbar if it is there.
    assert done.stdout.strip() in ("[]", "['debug_toolbar']"), done.stderr


@pytest.mark.parametrize("name", NEEDS)
def test_a_module_without_its_package_names_it(name):
    if find_spec(NEEDS[name]) or (name == "tasks.framework" and find_spec("django.tasks")):
        pytest.skip("the package is there")
    with pytest.raises(ModuleNotFoundError, match=NEEDS[name]):
        __import__(f"do_bridge.contrib.{name}")


def test_the_worker_without_a_framework_says_what_to_install():
    if find_spec("django.tasks") or find_spec("django_tasks"):
        pytest.skip("the framework is there")
    values = programs.environment(DJANGO_SETTINGS_MODULE="tests.applications.integrations.settings")
    values["PYTHONPATH"] = str(programs.ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "django", "run_tasks"],
        env=values,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install django-tasks" in done.stderr
    assert "Traceback" not in done.stderr
