"""The system checks of settings that would fail later with a riddle."""

import os

import pytest
from django.conf import settings
from django.core import checks
from django.test import override_settings

from do_bridge.checks import settings as ours
from do_bridge.tenancy import TenantDatabases
from do_bridge.tenancy import databases as databases_module
from tests import forking


def ids(messages):
    return [message.id for message in messages]


@pytest.fixture
def configured(monkeypatch):
    """Checks see these DATABASES; Django's own connections stay as they are."""

    def configure(databases):
        monkeypatch.setattr(settings, "DATABASES", databases)
        found = databases if isinstance(databases, TenantDatabases) else None
        monkeypatch.setattr(ours, "tenant_databases", lambda: found)

    return configure


def template(**changes):
    return {"ENGINE": databases_module.DURABLE_OBJECT_ENGINE, "NAME": "", "PASSWORD": "token", **changes}


def test_the_site_passes_every_check():
    assert checks.run_checks() == []


def test_a_template_in_a_plain_dict_is_refused(configured):
    configured({"default": {}, "tenant": template()})
    assert ids(ours.check_databases()) == ["do_bridge.E001"]


def test_an_object_with_a_name_of_its_own_needs_no_tenancy(configured):
    configured({"default": template(NAME="shared")})
    assert ours.check_databases() == ours.check_routers() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"OPTIONS": {"jurisdiction": None}}, []),
        ({"OPTIONS": {"jurisdiction": "fedramp-high"}}, []),
        ({"OPTIONS": {"jurisdiction": "europe"}}, ["do_bridge.E023"]),
        ({"OPTIONS": {"jurisdiction": "EU"}}, ["do_bridge.E023"]),
        ({"NAME": "main@eu"}, ["do_bridge.E024"]),
    ],
)
def test_a_jurisdiction_that_does_not_exist_or_is_in_a_name_is_refused(configured, changes, expected):
    configured(TenantDatabases({"default": {}, "tenant": template(**changes)}))
    assert ids(ours.check_jurisdictions()) == expected
    configured({"default": template(**{"NAME": "main", **changes})})
    assert ids(ours.check_jurisdictions()) == expected


def test_requests_in_a_transaction_of_the_template_are_refused(configured):
    configured(TenantDatabases({"default": {}, "tenant": template(ATOMIC_REQUESTS=True)}))
    assert ids(ours.check_databases()) == ["do_bridge.E004"]


@pytest.mark.parametrize(
    ("routers", "expected"),
    [
        ([], ["do_bridge.E002", "do_bridge.E003"]),
        (["do_bridge.tenancy.routers.TenantRouter"], ["do_bridge.E003"]),
        (["do_bridge.tenancy.routers.DirectoryRouter"], ["do_bridge.E002"]),
        (
            ["do_bridge.tenancy.routers.DirectoryRouter", "do_bridge.tenancy.routers.TenantRouter"],
            ["do_bridge.E003"],
        ),
    ],
)
def test_missing_routers_and_a_wrong_order_are_refused(routers, expected):
    with override_settings(DATABASE_ROUTERS=routers):
        assert ids(ours.check_routers()) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"TENANT_MODELS": ("blog", "blog.Post")}, []),
        ({"TENANT_MODELS": ("weblog",)}, ["do_bridge.E005"]),
        ({"TENANT_MODELS": ("blog.Comment",)}, ["do_bridge.E005"]),
        ({"TENANT_MODEL": "accounts.Customer"}, ["do_bridge.E006"]),
        ({"TENANT_MODEL": "accounts.User"}, ["do_bridge.E006"]),
        ({"JURISDICTION_FIELD": "nothing"}, ["do_bridge.E025"]),
        ({"LOCATION_FIELD": "created"}, ["do_bridge.E025"]),
        ({"TENANT_MODLES": ()}, ["do_bridge.E007"]),
    ],
)
def test_names_that_nothing_has_are_refused(changes, expected):
    with override_settings(DO_BRIDGE={**settings.DO_BRIDGE, **changes}):
        assert ids(ours.check_models()) == expected


@pytest.mark.parametrize("name", ["accounts.Customer", "nothing.Tenant"])
def test_a_model_that_does_not_exist_is_named_by_a_check_and_not_by_a_traceback(tmp_path, name):
    text = f"from project.settings import *\nDO_BRIDGE = {{**DO_BRIDGE, 'TENANT_MODEL': {name!r}}}\n"
    (tmp_path / "without_tenants.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = forking.run(["manage.py", "check", "--settings", "without_tenants"], env=environment)
    assert done.returncode == 1
    assert f"(do_bridge.E006) DO_BRIDGE['TENANT_MODEL'] is {name!r}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_token_is_warned_about(configured):
    configured({"default": template(NAME="shared", PASSWORD="")})
    assert ids(ours.check_token()) == ["do_bridge.W002"]


@pytest.mark.parametrize(("host", "expected"), [("", []), ("https://relay.example", ["do_bridge.W002"])])
def test_tenants_without_a_relay_need_no_token(configured, host, expected):
    configured(TenantDatabases({"default": {}, "tenant": template(PASSWORD="", HOST=host)}))
    assert ids(ours.check_token()) == expected


@pytest.mark.parametrize(("transport", "expected"), [("rest", ["do_bridge.W001"]), ("relay", [])])
def test_a_deployed_site_is_warned_of_the_rest_transport(configured, transport, expected):
    configured({"default": {"ENGINE": "do_bridge.backends.d1", "OPTIONS": {"transport": transport}}})
    assert ids(ours.check_transport()) == expected


def test_a_late_middleware_and_a_relative_static_url_are_warned_about():
    common = "django.middleware.common.CommonMiddleware"
    late = [common, "do_bridge.tenancy.middleware.TenantMiddleware"]
    with override_settings(MIDDLEWARE=late, STATIC_URL="static/"):
        assert ids(ours.check_middleware()) == ["do_bridge.W003", "do_bridge.W004"]
