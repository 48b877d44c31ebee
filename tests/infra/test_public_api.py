"""The public API: one path for each name, annotated, listed in the reference, and no Django at import."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.pages import is_name_of_package

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text()
USER = ROOT / "tests" / "infra" / "inner" / "typed_user.py"
#: Modules that list their public names, each with a section on the page.
MODULES = [
    "do_bridge",
    "do_bridge.admin",
    "do_bridge.database_url",
    "do_bridge.driver",
    "do_bridge.exceptions",
    "do_bridge.relay",
    "do_bridge.signals",
    "do_bridge.testing",
]
PEP_249 = {
    "BINARY",
    "Binary",
    "Connection",
    "Cursor",
    "DATETIME",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NUMBER",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "ROWID",
    "STRING",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    # The driver's own class of an exception, beside Django's, as PEP 249's are.
    "TransactionConflict",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
}
CONFIG = """
[mypy]
strict = true
follow_imports = silent
[mypy-django.*]
ignore_missing_imports = true
"""
WRONG = """
from do_bridge import batch, nothing, tenant_context
tenant_context()
batch(using=3)
"""


def listed(module):
    """Return the names that the page has for a module."""
    section = re.search(rf"^## `{re.escape(module)}`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, module
    names = re.findall(rf"^\.\. auto\w+:: {re.escape(module)}\.(\w+)$", section[1], re.MULTILINE)
    return [name for name in names if module != "do_bridge.driver" or name not in PEP_249]


def public(module):
    """Return the names that a module makes public, without those that the page need not explain."""
    names = set(importlib.import_module(module).__all__) - {"__version__"}
    return names - PEP_249 if module == "do_bridge.driver" else names


@pytest.mark.parametrize("module", MODULES)
def test_the_page_lists_the_public_names_of_a_module(module):
    assert sorted(listed(module)) == sorted(public(module))


def test_the_page_has_no_other_module():
    assert sorted(re.findall(r"^## `(.+?)`$", PAGE, re.MULTILINE)) == MODULES


def test_a_name_has_one_path():
    names = [name for module in MODULES for name in listed(module)]
    assert len(names) == len(set(names))


def test_every_dotted_path_for_settings_leads_to_something():
    section = PAGE.partition("## Paths for settings\n")[2]
    paths = re.findall(r"^\| `(do_bridge\.[\w.]+)`", section, re.MULTILINE)
    assert len(paths) > 8
    for path in paths:
        assert is_name_of_package(path), path


def unannotated(owner, function):
    """Yield a text for each parameter of a function, and for its result, without an annotation."""
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        if name not in ("self", "cls") and parameter.annotation is inspect.Parameter.empty:
            yield f"{owner}.{function.__qualname__}({name})"
    if signature.return_annotation is inspect.Signature.empty:
        yield f"{owner}.{function.__qualname__}()"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_and_method_is_annotated(module):
    missing = []
    for name in listed(module):
        value = getattr(importlib.import_module(module), name)
        members = vars(value).items() if inspect.isclass(value) else [(name, value)]
        for attribute, written in members:
            member = getattr(written, "__func__", getattr(written, "fget", written))
            is_public = not attribute.startswith("_") or attribute == "__init__"
            if is_public and inspect.isfunction(member) and member.__module__.startswith("do_bridge"):
                missing += unannotated(module, member)
    assert missing == []


def mypy(path, folder):
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini"]
    command += ["--cache-dir", ROOT / ".mypy_cache" / "outside", path]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_users_module_passes_mypys_strict_mode(tmp_path):
    done = mypy(USER, tmp_path)
    assert done.returncode == 0, done.stdout


def test_mypy_sees_what_a_user_does_wrong(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    said = mypy(tmp_path / "wrong.py", tmp_path).stdout
    assert 'has no attribute "nothing"' in said
    assert 'Missing positional argument "tenant"' in said
    assert 'Argument "using" to "batch" has incompatible type "int"' in said


def test_what_settings_need_is_imported_before_there_are_any():
    code = "import do_bridge, do_bridge.exceptions, do_bridge.database_url; do_bridge.TenantDatabases"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    code = "import do_bridge, do_bridge.exceptions, sys; sys.exit('django' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_name_is_an_attribute_error():
    for module in ("do_bridge", "do_bridge.exceptions"):
        with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
            importlib.import_module(module).nothing  # noqa: B018
