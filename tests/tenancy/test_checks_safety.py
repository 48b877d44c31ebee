"""The system checks of tokens, transactions, relations and caches: what passes, and what does not."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core import checks
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from accounts.models import Tenant, User
from blog.models import Post
from do_bridge.checks import safety as checks_safety
from do_bridge.checks import sessions as checks_sessions
from do_bridge.checks import settings as ours
from do_bridge.tenancy.databases import DURABLE_OBJECT_ENGINE
from tests.tenancy.test_checks import ids

ROOT = Path(__file__).resolve().parents[2]
GOOD_TOKEN = "Qm7vT2xk9LpR4sW8yB3nZ6cF1hJ5gD0a"
D1 = "do_bridge.backends.d1"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
TENANT_KEY = "do_bridge.contrib.cache.tenant_key"
DIRECTORY_KEY = "do_bridge.contrib.cache.directory_key"


@pytest.fixture
def with_database(monkeypatch):
    """Checks see one database of this package."""

    def configure(**values):
        values = {"ENGINE": D1, "NAME": "one", "PASSWORD": GOOD_TOKEN, **values}
        monkeypatch.setattr(settings, "DATABASES", {"default": values})
        monkeypatch.setattr(ours, "tenant_databases", lambda: None)

    return configure


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (GOOD_TOKEN, []),
        ("short", ["do_bridge.W005"]),
        ("change-me" * 1, ["do_bridge.W005"]),
        ("abcabcabc" * 8, ["do_bridge.W005"]),
        ("", []),  # W002's
    ],
)
def test_a_token_that_can_be_guessed_is_warned_about(with_database, token, expected):
    with_database(PASSWORD=token)
    assert ids(checks_safety.check_token_strength()) == expected


@pytest.mark.parametrize("setting", [{"SECRET_KEY": GOOD_TOKEN}, {"SECRET_KEY_FALLBACKS": [GOOD_TOKEN]}])
def test_a_token_that_is_the_secret_key_is_warned_about_and_not_shown(with_database, setting):
    with_database()
    with override_settings(**setting):
        found = checks_safety.check_token_strength()
    assert ids(found) == ["do_bridge.W006"]
    assert GOOD_TOKEN not in str(found)


@pytest.mark.parametrize(
    ("host", "is_warned"),
    [
        ("https://relay.example", False),
        ("wss://relay.example", False),
        ("http://relay.example", True),
        ("ws://relay.example", True),
        ("http://10.0.0.5:8787", True),
        ("http://127.0.0.1:8787", False),
        ("http://127.8.0.1", False),
        ("http://[::1]:8787", False),
        ("http://localhost:8787", False),
        ("http://relay.localhost", False),
        ("http://localhost.example", True),
        ("http://[::1", False),  # no address
        ("", False),
    ],
)
def test_a_readable_way_to_another_machine_is_warned_about(with_database, host, is_warned):
    with_database(HOST=host)
    assert ids(checks_safety.check_encryption()) == ["do_bridge.W007"] * is_warned


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"ATOMIC_REQUESTS": True}, ["do_bridge.E008"]),
        ({"ATOMIC_REQUESTS": True, "OPTIONS": {"transactions": "optimistic"}}, []),
        ({"ENGINE": DURABLE_OBJECT_ENGINE, "ATOMIC_REQUESTS": True}, ["do_bridge.W008"]),
        ({"ENGINE": "django.db.backends.sqlite3", "ATOMIC_REQUESTS": True}, []),
        ({"ENGINE": DURABLE_OBJECT_ENGINE, "NAME": "", "ATOMIC_REQUESTS": True}, []),  # E004's
    ],
)
def test_requests_in_transactions_are_refused_on_d1_and_warned_about_on_an_object(
    with_database, values, expected
):
    with_database(**values)
    assert ids(checks_safety.check_atomic_requests()) == expected


def test_requests_in_transactions_on_d1_are_warned_about_where_they_cover_tenants(monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    assert ids(checks_safety.check_atomic_requests()) == ["do_bridge.W010"]


@pytest.mark.parametrize(
    ("test", "is_refused"),
    [(None, False), ({"NAME": None}, False), ({"NAME": "two"}, False), ({"NAME": "one"}, True)],
)
def test_a_test_database_that_is_the_configured_one_is_refused(with_database, monkeypatch, test, is_refused):
    with_database(TEST=test)
    assert checks_safety.check_test_databases() == []  # a test run has put it there
    monkeypatch.setattr(checks_safety, "in_test_environment", lambda: False)
    assert ids(checks_safety.check_test_databases()) == ["do_bridge.E009"] * is_refused


def relations(monkeypatch, app_label, **fields):
    """The ids that a model of the app with these fields gives rise to."""
    with isolate_apps(app_label) as isolated:
        body = {"__module__": __name__, "Meta": type("Meta", (), {"app_label": app_label}), **fields}
        type("Subject", (models.Model,), body)
        monkeypatch.setattr(checks_safety.apps, "get_models", isolated.get_models)
        return ids(checks_safety.check_relations())


def key(target, **options):
    return models.ForeignKey(target, models.CASCADE, related_name="+", **options)


@pytest.mark.parametrize("target", [Post, User, ContentType])
def test_a_tenants_model_may_point_to_tenants_users_and_content_types(monkeypatch, target):
    assert relations(monkeypatch, "blog", other=key(target)) == []


def test_a_tenants_model_may_point_to_a_proxy_of_what_it_may_point_to(monkeypatch):
    with isolate_apps("accounts"):
        made = [
            type(
                f"Some{base.__name__}",
                (base,),
                {
                    "__module__": __name__,
                    "Meta": type("Meta", (), {"proxy": True, "app_label": "accounts"}),
                },
            )
            for base in (User, ContentType, Post, Tenant)
        ]
    found = [relations(monkeypatch, "blog", other=key(proxy)) for proxy in made]
    assert found == [[], [], [], ["do_bridge.E010"]]


@pytest.mark.parametrize("target", [Tenant, Group])
def test_a_tenants_model_may_not_point_to_the_directory(monkeypatch, target):
    assert relations(monkeypatch, "blog", other=key(target)) == ["do_bridge.E010"]
    several = models.ManyToManyField(target, related_name="+")
    assert relations(monkeypatch, "blog", others=several) == ["do_bridge.E010"]


def test_a_model_of_the_directory_may_point_to_the_directory_alone(monkeypatch):
    assert relations(monkeypatch, "accounts", other=key(Tenant), user=key(User)) == []
    assert relations(monkeypatch, "accounts", other=key(Post)) == ["do_bridge.E011"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"TENANT_MODELS": ("blog", "sessions")}, ["do_bridge.E012"]),
        ({"TENANT_MODELS": ("accounts",)}, ["do_bridge.E012", "do_bridge.E012"]),
        ({"CONTEXT_MODELS": ("sessions.Session",)}, ["do_bridge.E012"]),
        ({"TENANT_MODELS": ("do_bridge_sessions",)}, ["do_bridge.E012"]),
    ],
)
def test_sessions_users_and_tenants_stay_in_the_directory(changes, expected):
    with override_settings(DO_BRIDGE={**settings.DO_BRIDGE, **changes}):
        assert ids(checks_safety.check_directory_models()) == expected


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("do_bridge.contrib.messages.TenantCookieStorage", []),
        ("django.contrib.messages.storage.fallback.FallbackStorage", ["do_bridge.W012"]),
        ("django.contrib.messages.storage.session.SessionStorage", ["do_bridge.W012"]),
    ],
)
def test_message_storages_that_all_tenants_share_are_warned_about(storage, expected):
    with override_settings(MESSAGE_STORAGE=storage):
        assert ids(checks_safety.check_messages()) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("blog",), []), (("blog", "sites"), ["do_bridge.E015"]), (("sites.Site",), ["do_bridge.E015"])],
)
def test_sites_stay_in_the_directory(names, expected):
    options = {**settings.DO_BRIDGE, "TENANT_MODELS": names}
    # The admin would load the app's admin module, which registers its model for the rest of the process.
    without_admin = [app for app in settings.INSTALLED_APPS if "admin" not in app]
    with override_settings(INSTALLED_APPS=[*without_admin, "django.contrib.sites"], DO_BRIDGE=options):
        assert ids(checks_safety.check_sites()) == expected
    assert ids(checks_safety.check_sites()) == []
    assert not [model for model in admin.site._registry if model._meta.app_config is None]


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ({"KEY_FUNCTION": TENANT_KEY}, []),
        ({"KEY_FUNCTION": DIRECTORY_KEY}, []),
        ({}, ["do_bridge.W009"]),
        ({"BACKEND": checks_safety.DUMMY_CACHE}, []),
    ],
)
def test_a_cache_that_tenants_share_is_warned_about(monkeypatch, cache, expected):
    monkeypatch.setattr(settings, "CACHES", {"default": {"BACKEND": LOCMEM, **cache}})
    assert ids(checks_safety.check_caches()) == expected


@pytest.mark.parametrize(
    ("engine", "function", "expected"),
    [
        ("cached_db", TENANT_KEY, ["do_bridge.E013"]),
        ("cache", TENANT_KEY, ["do_bridge.E013"]),
        ("cached_db", DIRECTORY_KEY, []),
        ("db", TENANT_KEY, []),
    ],
)
def test_sessions_in_a_cache_by_tenant_are_refused(monkeypatch, engine, function, expected):
    monkeypatch.setattr(settings, "CACHES", {"default": {"BACKEND": LOCMEM, "KEY_FUNCTION": function}})
    monkeypatch.setattr(settings, "SESSION_ENGINE", f"django.contrib.sessions.backends.{engine}")
    assert ids(checks_safety.check_caches()) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db", "INSTALLED_APPS": []}, []),
        ({"INSTALLED_APPS": ["django.contrib.contenttypes"]}, ["do_bridge.E018"]),
        ({"MIDDLEWARE": ["django.contrib.auth.middleware.AuthenticationMiddleware"]}, ["do_bridge.W014"]),
    ],
)
def test_sessions_with_users_need_their_app_and_their_middleware(changes, expected):
    with override_settings(**changes):
        assert ids(checks_sessions.check_sessions()) == expected


def test_the_site_passes_the_checks_of_a_deploy():
    found = checks.run_checks(include_deployment_checks=True)
    assert [message for message in found if message.id.startswith("do_bridge.")] == []


def test_the_documents_table_names_every_check_and_no_other():
    code = "".join(
        name.read_text()
        for folder in ("checks", "members", "inspection")
        for name in sorted((ROOT / "do_bridge" / folder).glob("checks.py" if folder != "checks" else "*.py"))
    )
    documented = re.findall(
        r"^\| `(do_bridge\.[EW]\d{3})` \|", (ROOT / "docs/reference/checks.md").read_text(), re.M
    )
    assert len(documented) == len(set(documented))
    assert set(documented) == set(re.findall(r'"(do_bridge\.[EW]\d{3})"', code))
