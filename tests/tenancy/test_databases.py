"""DATABASES with an alias for each tenant."""

import copy
import pickle
import threading

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.utils import ConnectionDoesNotExist
from django.test import override_settings

from do_bridge.tenancy import TenantDatabases, register_tenant, tenant_alias
from do_bridge.tenancy import databases as databases_module
from do_bridge.tenancy.databases import register_from_arguments, tenant_databases
from tests.tenancy.test_slugs import HOSTILE


@pytest.fixture
def databases():
    return TenantDatabases(
        {
            "default": {"ENGINE": "do_bridge.backends.d1", "NAME": "id"},
            "tenant": {
                "ENGINE": "do_bridge.backends.durable_object",
                "NAME": "",
                "PASSWORD": "the-secret",
                "OPTIONS": {"lease": 10},
            },
        }
    )


def test_an_alias_is_made_from_the_template(databases):
    acme = databases["tenant/acme"]
    assert acme["NAME"] == "tenant/acme"
    assert acme["ENGINE"] == databases["tenant"]["ENGINE"]
    acme["OPTIONS"]["lease"] = 20
    assert databases["tenant/zeta"]["OPTIONS"] == {"lease": 10}


def test_a_plain_alias_is_what_was_written(databases):
    assert databases["default"]["NAME"] == "id"
    assert databases.get("nowhere") is None
    assert "nowhere" not in databases


@pytest.mark.parametrize("slug", HOSTILE)
def test_a_hostile_alias_does_not_exist_and_reaches_nothing(slug, trips):
    with pytest.raises(ConnectionDoesNotExist, match="tenant/"):
        connections[f"tenant/{slug}"]
    assert f"tenant/{slug}" not in connections.settings
    assert trips.count == 0


def test_without_a_template_no_tenant_has_an_alias():
    plain = TenantDatabases({"default": {}})
    assert "tenant/acme" not in plain
    with pytest.raises(KeyError, match="tenant/acme"):
        plain["tenant/acme"]


def test_iterating_shows_plain_and_registered_aliases(databases):
    databases["tenant/zeta"]
    assert list(databases) == ["default", "tenant"]
    assert databases.register("acme") == "tenant/acme"
    assert list(databases) == ["default", "tenant", "tenant/acme"]
    databases.unregister("acme")
    assert list(databases) == ["default", "tenant"]


def test_iterating_goes_on_while_another_thread_registers(databases):
    iterator = iter(databases)
    first = next(iterator)
    thread = threading.Thread(target=lambda: [databases.register(f"t{number}") for number in range(50)])
    thread.start()
    thread.join()
    assert [first, *iterator] == ["default", "tenant"]
    assert len(list(databases)) == 52


def test_a_test_run_renames_every_object_before_and_after(databases):
    before = databases["tenant/acme"]
    databases["tenant"]["NAME"] = "test/run1"
    assert before["NAME"] == "test/run1/acme"
    assert databases["tenant/zeta"]["NAME"] == "test/run1/zeta"
    databases["tenant"]["NAME"] = ""
    assert before["NAME"] == "tenant/acme"


def test_copies_and_pickles_know_tenants_too(databases):
    for twin in (copy.copy(databases), copy.deepcopy(databases), pickle.loads(pickle.dumps(databases))):  # noqa: S301
        assert twin == databases
        assert twin["tenant/acme"]["NAME"] == "tenant/acme"
        assert list(twin) == ["default", "tenant"]


def test_its_repr_shows_no_secret(databases):
    assert "the-secret" not in repr(databases)
    assert "tenant" in repr(databases)


@pytest.mark.parametrize(
    "arguments",
    [["migrate", "--database", "tenant/from-argv"], ["dumpdata", "--database=tenant/from-argv", "blog"]],
)
def test_the_command_line_registers_the_tenant_that_it_names(arguments):
    try:
        register_from_arguments(["manage.py", *arguments])
        assert "tenant/from-argv" in list(connections)
    finally:
        tenant_databases().unregister("from-argv")


@pytest.mark.parametrize(
    "arguments",
    [["--database"], ["--database="], ["--database=tenant/../x"], ["--database", "default"], ["-x"]],
)
def test_the_command_line_registers_nothing_else(arguments):
    before = list(connections)
    register_from_arguments(["manage.py", "migrate", *arguments])
    assert list(connections) == before


def test_a_registered_tenant_is_seen_by_everybody():
    try:
        assert register_tenant("seen") == "tenant/seen"
        assert "tenant/seen" in list(connections)
    finally:
        settings.DATABASES.unregister("seen")


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 4})
def test_a_thread_keeps_a_bounded_number_of_wrappers():
    live = []

    def use_many():
        first = connections["tenant/many-0"]
        for number in range(1, 10):
            connections[f"tenant/many-{number}"]
        live.append(tenant_databases().live_aliases())
        live.append(connections["tenant/many-0"] is first)
        connections.close_all()

    thread = threading.Thread(target=use_many)
    thread.start()
    thread.join()
    assert live == [[f"tenant/many-{number}" for number in range(6, 10)], False]


def test_outside_of_test_runs_iterating_shows_what_is_live_in_this_thread(monkeypatch):
    seen = []

    def look():
        connections["tenant/live-one"]
        monkeypatch.setattr(databases_module, "in_test_environment", lambda: False)
        seen.append(list(connections))
        seen.append([connection.alias for connection in connections.all(initialized_only=True)])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen[0][:2] == ["default", "tenant"]
    assert seen[0][-1] == "tenant/live-one"
    # What Django closes at the end of a request.
    assert seen[1] == ["tenant/live-one"]
    assert "tenant/live-one" not in list(connections)


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 2})
def test_a_wrapper_with_an_open_transaction_stays(acme):
    alias = tenant_alias(acme.slug)
    with transaction.atomic(using=alias):
        wrapper = connections[alias]
        for number in range(5):
            connections[f"tenant/other-{number}"]
        assert connections[alias] is wrapper
