"""Tenants in the template's jurisdiction, on a stand-in for the platform's, which the local runtime lacks."""

import pytest
from django.db import connections

from accounts.models import User
from blog.models import Post
from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.replicated.sql import copy_rows
from do_bridge.testing import empty_object, unique_slug


@pytest.fixture
def european():
    """The template's default place is eu until the test ends."""
    databases = tenant_databases()
    options = dict(databases["tenant"]["OPTIONS"])
    databases.update_tenants({"OPTIONS": {**options, "jurisdiction": "eu"}})
    yield databases
    databases.update_tenants({"OPTIONS": options})


@pytest.fixture
def new(european, db):
    """A slug that nobody has; its object is emptied afterwards."""
    slug = unique_slug("placed")
    yield slug
    empty_object(tenant_alias(slug))


def tables(relay, name):
    found = driver.connect(relay, name).execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in found.fetchall()} - {"_cf_KV", "__miniflare_do_name"}


def test_a_tenant_is_made_and_used_in_the_templates_jurisdiction_on_a_stand_in(new, relay):
    tenant, created, _ = create_tenant(new)
    assert created
    user = User.objects.create_user("ada", password="secret-of-ada")
    copy_rows(User, [user], tenant_alias(new))
    with tenant_context(tenant):
        Post.objects.create(title="here", content="-", user_id=user.pk)
        assert Post.objects.get().title == "here"
    database = connections[tenant_alias(new)].connection.database
    assert database.endswith(f"/{new}@eu")
    assert "blog_post" in tables(relay, database)
    assert tables(relay, database.removesuffix("@eu")) == set()
    assert relay.jurisdiction_of(database, Deadline(10)) == "eu"


def test_template_objects_are_in_the_templates_jurisdiction_on_a_stand_in(european, db):
    alias = european.template_object_alias("abc")
    connection = connections[alias]
    connection.ensure_connection()
    assert connection.connection.database.endswith("/scratch-abc@eu")
    connection.close()
