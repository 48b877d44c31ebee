"""OPTIONS["replicas"], and the tables that are read from the primary."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.http import HttpResponse
from engine_aliases import alias_for
from lagging import Browser
from shelf import Author

from accounts.models import User
from do_bridge import database_url
from do_bridge.backends.d1.replicas import Visit, visiting
from do_bridge.contrib import replicas
from do_bridge.contrib.replicas import (
    PrimaryTables,
    ReplicaMiddleware,
    primary_models,
)
from do_bridge.contrib.sessions.backend import SessionStore
from do_bridge.driver.sql import prepare


class TestTables:
    """Which of the site's tables are read from the primary whatever the visitor has seen."""

    @pytest.fixture
    def tables(self) -> Any:
        return PrimaryTables()

    @pytest.mark.parametrize(
        "model",
        [
            "accounts.User",
            "accounts.Tenant",
            "accounts.Membership",
            "accounts.ApiToken",
            "auth.Group",
            "auth.Permission",
            "do_bridge_sessions.Session",
            "do_bridge.TenantState",
            "do_bridge.KnownSchema",
            "do_bridge_members.DirtyFlag",
            "do_bridge_inspection.Job",
        ],
    )
    def test_what_decides_on_access_and_on_work_in_progress_is(self, tables: Any, model: str) -> None:
        assert tables.are_in([_statement(apps.get_model(model).objects.all())])

    def test_all_others_are_not_and_may_join_users(self, tables: Any) -> None:
        entries = LogEntry.objects.using("default")
        assert not tables.are_in([_statement(entries.all())])
        assert not tables.are_in([_statement(entries.select_related("user"))])
        assert tables.are_in([_statement(entries.all()), _statement(User.objects.all())])

    @pytest.mark.parametrize("relation", [User.groups, User.user_permissions, Group.permissions])
    def test_who_is_in_a_group_and_what_it_may_do_is_read_from_the_primary(
        self, tables: Any, relation: Any
    ) -> None:
        """Django counts and looks for related rows in the table between the two alone."""
        assert tables.are_in([_statement(relation.through.objects.using("default"))])

    def test_a_session_is_read_from_the_primary_with_its_user(self, tables: Any) -> None:
        store = SessionStore("somekey")
        assert tables.are_in([_statement(store._rows())])

    def test_an_application_that_is_not_installed_is_left_out(self, settings: Any) -> None:
        settings.DO_BRIDGE = settings.DO_BRIDGE | {"PRIMARY_MODELS": ("sessions.Session", "shop.Order")}
        assert [model._meta.label for model in primary_models()] == ["sessions.Session"]

    def test_a_setting_without_a_model_is_left_out(self, settings: Any) -> None:
        names = {"PRIMARY_MODELS": ("DOMAIN_MODEL", "TENANT_MODEL"), "TENANT_MODEL": "accounts.Nobody"}
        settings.DO_BRIDGE = settings.DO_BRIDGE | names
        assert list(primary_models()) == []

    @pytest.mark.parametrize("label", ["accounts.Nobody", "nothing", "NO_SUCH_MODEL"])
    def test_a_model_that_does_not_exist_is_named(self, settings: Any, label: str) -> None:
        settings.DO_BRIDGE = settings.DO_BRIDGE | {"PRIMARY_MODELS": (label,)}
        with pytest.raises(ImproperlyConfigured, match=f"names '{label}', which is not a model"):
            PrimaryTables()

    def test_they_are_asked_with_the_constraint_of_the_primary(
        self, newer: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replicas, "primary_models", lambda: [Author])
        assert Browser().read(newer) == ["new", "old"]


def _statement(rows: Any) -> Any:
    sql, params = rows.query.get_compiler("default").as_sql()
    return prepare(sql, params)


class TestOptions:
    """OPTIONS["replicas"], and the middleware's own demands."""

    def test_without_such_a_database_the_middleware_takes_itself_out(self) -> None:
        with pytest.raises(MiddlewareNotUsed, match="No database has"):
            ReplicaMiddleware(lambda request: HttpResponse())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"replicas": "yes"}, "Set it to True or False"),
            ({"replicas": True, "transport": "rest"}, "'relay'"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, local_worker: Any, django_db_blocker: Any, options: Any, message: str
    ) -> None:
        with (
            django_db_blocker.unblock(),
            alias_for("d1", local_worker, options.get("transport", "relay")) as alias,
        ):
            alias.close()
            alias.settings_dict["OPTIONS"].update(options)
            with pytest.raises(ImproperlyConfigured, match=message):
                alias.ensure_connection()
            alias.settings_dict["OPTIONS"].pop("replicas")

    def test_a_url_may_switch_them_on(self) -> None:
        assert database_url.parse("d1://:token@relay.example/id?replicas=true")["OPTIONS"] == {
            "replicas": True
        }

    def test_switched_off_they_change_nothing_on_the_wire(
        self, local_worker: Any, django_db_blocker: Any, frames: list[Any]
    ) -> None:
        with django_db_blocker.unblock(), alias_for("d1", local_worker) as alias:
            frames.clear()
            with visiting(Visit()), alias.cursor() as cursor:
                cursor.execute("SELECT 1 AS a")
        assert frames[0] == {
            "op": "batch",
            "db": "d1:" + alias.settings_dict["NAME"],
            "steps": [{"sql": "SELECT 1 AS a"}],
        }
