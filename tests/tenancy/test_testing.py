"""The helpers for other projects' tests, used as they would be used there."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import TenantDatabases, current_tenant
from do_bridge.testing import TenantTestCase, empty_object, provision_test_tenant, relay


class OneTenantsPosts(TenantTestCase):
    tenant_slug = "case-one"

    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.using("tenant/case-one").create(pk=1, username="member")

    def write(self):
        assert current_tenant() == "case-one"
        Post.objects.create(title="one", content="-", user_id=1)
        assert Post.objects.count() == 1

    def test_each_test_runs_inside_the_tenant(self):
        self.write()

    def test_what_one_test_writes_no_other_sees(self):
        self.write()


def test_a_provisioned_test_tenant_is_empty_again_afterwards(db):
    with provision_test_tenant() as slug:
        assert User.objects.using(f"tenant/{slug}").count() == 0
    connection = connections[f"tenant/{slug}"]
    assert connection.settings_dict["NAME"].startswith("test/")
    with connection.cursor() as cursor:
        assert connection.introspection.table_names(cursor) == []


def test_objects_are_emptied_in_test_runs_alone(monkeypatch):
    from django.test import utils

    monkeypatch.delattr(utils._TestState, "saved_data")
    with pytest.raises(RuntimeError, match="only in a test run"):
        empty_object("tenant/acme")


def test_a_test_run_without_the_directory_never_asks_it(acme, monkeypatch):
    alias = f"tenant/{acme.slug}"
    directory = connections["default"]
    directory.close()
    # As in a run whose tests name a tenant's alias alone; the engine then refuses to connect.
    monkeypatch.setattr(directory.creation, "is_test_database", lambda: False)
    with pytest.raises(ImproperlyConfigured, match="A test run may"):
        User.objects.exists()
    call_command("flush", database=alias, interactive=False, verbosity=0)
    assert ContentType.objects.using(alias).filter(app_label="blog", model="post").exists()
    monkeypatch.undo()


def test_tests_on_a_relay_of_their_own_are_in_no_jurisdiction(monkeypatch):
    """The local runtime has none, whatever the deployed site has."""
    objects = {"ENGINE": "do_bridge.backends.durable_object", "OPTIONS": {"jurisdiction": "eu", "lease": 5}}
    databases = TenantDatabases({"default": {**objects, "NAME": "main"}, "tenant": {**objects, "NAME": ""}})
    monkeypatch.setattr(connections, "settings", databases)
    tenants = [databases["tenant/acme"], databases["tenant/zeta"]]
    relay.point_at("http://127.0.0.1:5", "t" * 40, ["0", "1"])
    for settings in (databases["default"], databases["tenant"], *tenants, databases["tenant/later"]):
        assert (settings["HOST"], settings["OPTIONS"]) == ("http://127.0.0.1:5", {"lease": 5})
    # Each alias has its own: a place that one tenant gets is not another's.
    tenants[0]["OPTIONS"]["jurisdiction"] = "us"
    assert databases["tenant/zeta"]["OPTIONS"] == databases["tenant"]["OPTIONS"] == {"lease": 5}
