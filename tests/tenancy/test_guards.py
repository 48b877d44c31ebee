"""The guards around Django's methods are there, whatever other libraries do to the same methods."""

import functools
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db.models import QuerySet

from do_bridge.tenancy import guards
from do_bridge.tenancy.middleware import TenantMiddleware

PROGRAM = Path(__file__).parent / "wrapped_first.py"
# Does not exist before the guard is installed; its module cannot be imported before django.setup().
NOT_BEFORE_SETUP = {"_result_cache", "create_generic_related_manager"}


def of_django():
    """Return the guarded methods that another library can replace before django.setup()."""
    return [
        (path_of(owner), name)
        for owner, name in guards.installed()
        if path_of(owner).startswith(("django.db", "django.forms")) and name not in NOT_BEFORE_SETUP
    ]


def path_of(owner):
    return owner.__name__ if inspect.ismodule(owner) else f"{owner.__module__}:{owner.__qualname__}"


def test_a_library_that_wrapped_every_guarded_method_first_switches_no_guard_off():
    names = of_django()
    assert len(names) >= 20
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], input=json.dumps(names), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["passed"] == answer["missing"] == []
    # The library's own functions go on being called.
    assert {"_filter_or_exclude", "using", "create_forward_many_to_many_manager"} <= set(answer["called"])


@pytest.fixture
def replaced(monkeypatch):
    """A library that puts its own function in the place of the guard, and does not say so."""

    def bulk_create(self, objs, **kwargs):
        return list(objs)

    monkeypatch.setattr(QuerySet, "bulk_create", bulk_create)


def test_a_check_fails_for_a_guard_that_is_gone(replaced):
    with pytest.raises(SystemCheckError, match=r"QuerySet\.bulk_create .*do_bridge\.E014|E014.*bulk_create"):
        call_command("check")


def test_no_site_is_served_without_a_guard(replaced):
    with pytest.raises(ImproperlyConfigured, match=r"QuerySet\.bulk_create.*functools\.wraps"):
        TenantMiddleware(lambda request: None)


def test_a_library_that_wraps_a_guard_later_keeps_it(monkeypatch):
    guarded = QuerySet.bulk_create

    @functools.wraps(guarded)
    def traced(*args, **kwargs):
        return guarded(*args, **kwargs)

    monkeypatch.setattr(QuerySet, "bulk_create", traced)
    assert guards.missing() == []
    call_command("check")


def test_guards_are_installed_once():
    before = {
        path_of(owner) + name: inspect.getattr_static(owner, name) for owner, name in guards.installed()
    }
    for owner, name in guards.installed():
        guards.guard(owner, name, lambda present: pytest.fail("installed twice"))
    after = {path_of(owner) + name: inspect.getattr_static(owner, name) for owner, name in guards.installed()}
    assert before == after
