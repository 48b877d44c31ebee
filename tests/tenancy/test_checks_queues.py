"""The system check of task queues whose tables are in D1."""

import sys
import types

import pytest
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.db import models
from django.test import override_settings

from do_bridge.checks import safety as checks_safety
from do_bridge.tenancy.databases import DURABLE_OBJECT_ENGINE

D1 = "do_bridge.backends.d1"
ROUTERS = ["do_bridge.tenancy.routers.TenantRouter", "do_bridge.tenancy.routers.DirectoryRouter"]


class ToQueue:
    """Sends every model to the alias of the queue."""

    def db_for_write(self, model, **hints):
        return "queue"


@pytest.fixture
def installed(monkeypatch):
    """installed(name, model): an application of that name, with one model, beside those of the site."""

    def install(name, model):
        label = name.rpartition(".")[2] + "_queue"
        module = types.ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
        config = AppConfig(name, types.SimpleNamespace(__file__=__file__, __path__=["/"]))
        config.label, config.apps = label, apps
        meta = type("Meta", (), {"app_label": label, "managed": False})
        made = type(model, (models.Model,), {"__module__": __name__, "Meta": meta, "__qualname__": model})
        config.models = {model.lower(): made}
        monkeypatch.setattr(apps, "get_app_configs", lambda: [config])
        apps.all_models.pop(label, None)
        return label

    yield install


def with_databases(monkeypatch, **engines):
    databases = {alias: {"ENGINE": engine, "NAME": alias} for alias, engine in engines.items()}
    monkeypatch.setattr(settings, "DATABASES", databases)


@pytest.mark.parametrize("name", checks_safety.QUEUES)
def test_a_known_queue_in_d1_is_warned_about(installed, monkeypatch, name):
    installed(name, checks_safety.QUEUES[name][1])
    with_databases(monkeypatch, default=D1)
    with override_settings(DATABASE_ROUTERS=[]):
        (found,) = checks_safety.check_queues()
    assert found.id == "do_bridge.W011"
    assert name in found.msg
    assert "Durable Object" in found.hint


def test_a_queue_in_d1_with_optimistic_transactions_is_no_matter(installed, monkeypatch):
    installed("django_tasks_db", "DBTaskResult")
    with_databases(monkeypatch, default=D1)
    settings.DATABASES["default"]["OPTIONS"] = {"transactions": "optimistic"}
    with override_settings(DATABASE_ROUTERS=[]):
        assert checks_safety.check_queues() == []


@pytest.mark.parametrize("engine", [DURABLE_OBJECT_ENGINE, "django.db.backends.postgresql"])
def test_a_queue_in_another_database_is_none_of_its_business(installed, monkeypatch, engine):
    installed("django_tasks_db", "DBTaskResult")
    with_databases(monkeypatch, default=engine)
    with override_settings(DATABASE_ROUTERS=[]):
        assert checks_safety.check_queues() == []


def test_a_queue_that_a_router_sends_to_an_object_is_no_matter(installed, monkeypatch):
    installed("django_tasks_db", "DBTaskResult")
    with_databases(monkeypatch, default=D1, queue=DURABLE_OBJECT_ENGINE)
    with override_settings(DATABASE_ROUTERS=[ToQueue()]):
        assert checks_safety.check_queues() == []


def test_a_queue_that_is_the_tenants_own_is_no_matter(installed, monkeypatch):
    label = installed("django_tasks_db", "DBTaskResult")
    with override_settings(
        DATABASE_ROUTERS=ROUTERS, DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_MODELS": (label,)}
    ):
        assert checks_safety.check_queues() == []


def test_somebodys_own_application_of_the_same_name_is_no_queue(installed, monkeypatch):
    installed("mailer", "Letter")
    with_databases(monkeypatch, default=D1)
    with override_settings(DATABASE_ROUTERS=[]):
        assert checks_safety.check_queues() == []


def test_the_site_has_no_such_queue_and_the_check_is_registered():
    assert checks_safety.check_queues() == []
    assert checks_safety.check_queues in checks.registry.registry.get_checks()
