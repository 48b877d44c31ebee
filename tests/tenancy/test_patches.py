"""The few names of Django that the package replaces: all are listed, and whoever replaces them is noticed."""

import ast
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db.models import QuerySet
from django.db.models.signals import ModelSignal

import do_bridge
from blog.models import Post
from do_bridge import patches
from do_bridge.tenancy import TenantMismatch, tenant_context
from do_bridge.tenancy.middleware import TenantMiddleware

PROGRAM = Path(__file__).parent / "wrapped_first.py"
PACKAGE = Path(do_bridge.__file__).parent
PAGE = PACKAGE.parent / "docs" / "explanation" / "patches.md"
#: What tracing libraries wrap, pairs of (module or class, name).
WRAPPED = [
    ("django.db.models.manager:BaseManager", "get_queryset"),
    ("django.db.models.query", "prefetch_one_level"),
    ("django.db.models.sql.compiler:SQLCompiler", "as_sql"),
    *(
        ("django.db.models.query:QuerySet", name)
        for name in (
            "bulk_create",
            "bulk_update",
            "complex_filter",
            "db",
            "filter",
            "union",
            "update",
            "using",
            "_fetch_all",
            "_filter_or_exclude",
        )
    ),
]


def listed():
    """Return the names in the table of the page."""
    return re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)


def test_the_page_lists_what_is_replaced_and_nothing_else():
    importlib.import_module("do_bridge.backends.remote_sqlite.compiler")  # Done by the first query.
    names = [patches.path(owner, name) for owner, name in patches.installed()]
    assert sorted(listed()) == sorted(names)
    assert len(names) <= 5


def replacements(path):
    """Return the names of imported Django objects to which a module assigns attributes."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("django")
        for alias in node.names
    }
    targets = [
        target.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute)
    ]
    targets += [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("setattr", "vars")
        and node.args
        and (node.func.id == "setattr" or isinstance(node.args[0], ast.Name))
    ]
    return {ast.unparse(each) for each in targets if ast.unparse(each).split(".")[0] in imported}


def test_no_module_replaces_anything_of_django_by_itself():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := replacements(path))
    }
    assert found.pop("backends/remote_sqlite/key_lists.py", set()) <= {"module"}
    assert found == {}


def of_functions():
    """Return the replaced functions that another library can wrap before django.setup()."""
    return [
        (f"{owner.__module__}:{owner.__qualname__}", name)
        for owner, name in patches.installed()
        if inspect.isclass(owner)
    ]


def test_a_library_that_wrapped_djangos_methods_first_switches_no_check_off():
    names = [*WRAPPED, *of_functions()]
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], input=json.dumps(names), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["passed"] == answer["missing"] == []
    # The library's own functions go on being called.
    assert {"_filter_or_exclude", "using", "get_queryset"} <= set(answer["called"])


@pytest.fixture
def replaced(monkeypatch):
    """A library that puts its own function in the place of ours, and does not say so."""

    def send(self, sender, **named):
        return []

    monkeypatch.setattr(ModelSignal, "send", send)


def test_a_check_fails_for_a_replacement_that_is_gone(replaced):
    with pytest.raises(SystemCheckError, match=r"ModelSignal\.send .*do_bridge\.E014|E014.*ModelSignal"):
        call_command("check")


def test_no_site_is_served_without_a_replacement(replaced):
    with pytest.raises(ImproperlyConfigured, match=r"ModelSignal\.send.*functools\.wraps"):
        TenantMiddleware(lambda request: None)


def test_a_library_that_wraps_a_replacement_later_keeps_it(monkeypatch):
    ours = ModelSignal.send

    @functools.wraps(ours)
    def traced(*args, **kwargs):
        return ours(*args, **kwargs)

    monkeypatch.setattr(ModelSignal, "send", traced)
    assert patches.missing() == []
    call_command("check")


def test_a_library_that_replaces_a_method_of_querysets_switches_no_check_off(monkeypatch):
    monkeypatch.setattr(QuerySet, "bulk_create", lambda self, objs, **kwargs: list(objs))
    post = Post(pk=1)
    post._state.db = "tenant/acme"
    with tenant_context("zeta"), pytest.raises(TenantMismatch, match="can't be written into"):
        Post.objects.bulk_create([post])


def test_names_are_replaced_once():
    before = {patches.path(*each): inspect.getattr_static(*each) for each in patches.installed()}
    for owner, name in patches.installed():
        patches.replace(owner, name, lambda present: pytest.fail("replaced twice"))
    assert before == {patches.path(*each): inspect.getattr_static(*each) for each in patches.installed()}
