"""Two tenants with people in them, on a real D1 and real objects, emptied after each test."""

import types

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client

SLUGS = ("acme", "globex")


def ready_tenants():
    """Return {slug: row} of the two tenants, made anew where a test has flushed D1 and its content types."""
    from accounts.models import Tenant
    from do_bridge.tenancy.tenants import lookup
    from do_bridge.testing import empty_object

    rows = Tenant.objects.filter(slug__in=SLUGS)
    if len(rows) < len(SLUGS):
        for slug in SLUGS:
            empty_object(f"tenant/{slug}")
            call_command("create_tenant", slug, name=slug.title(), verbosity=0)
            lookup.get(slug)  # the first look-up of a new tenant reads its object
    return {tenant.slug: tenant for tenant in rows.all()}


@pytest.fixture(scope="module", autouse=True)
def as_the_demo_runs(django_db_setup, django_db_blocker):
    """D1 has optimistic transactions, as `make run` sets them."""
    used = connections["default"]
    options = used.settings_dict["OPTIONS"]
    before = options["transactions"]
    options["transactions"] = "optimistic"
    # The option decides the class of a new connection; other threads make theirs from the same settings.
    connections["default"] = optimistic = connections.create_connection("default")
    yield
    with django_db_blocker.unblock():
        optimistic.close()
    connections["default"] = used
    options["transactions"] = before


@pytest.fixture
def site(django_db_setup, django_db_blocker):
    """The people: ada owns acme, bo is a member of it, gil of globex; root is staff and nobody's."""
    from do_bridge.tenancy.tenants import lookup

    with django_db_blocker.unblock():
        tenants = ready_tenants()
        _empty()
        lookup.forget()
        yield types.SimpleNamespace(tenants=tenants, **_people(tenants))
        _empty()


def _people(tenants):
    """Write the people, their memberships and copies in few trips; return them by name."""
    from django.contrib.auth.hashers import make_password

    from accounts.models import Membership, User
    from do_bridge.members.syncing import sync_members

    password = make_password("a-pass-word")
    users = [User(username=name, name=name.title(), password=password) for name in ("ada", "bo", "gil")]
    users.append(User(username="root", name="Root", password=password, is_staff=True, is_superuser=True))
    people = {user.username: user for user in User.objects.bulk_create(users)}
    places = [("ada", "acme", "owner"), ("bo", "acme", "member"), ("gil", "globex", "member")]
    Membership.objects.bulk_create(
        Membership(user=people[name], tenant=tenants[slug], role=role) for name, slug, role in places
    )
    for slug in SLUGS:
        sync_members(tenants[slug])
    return people


def _empty():
    """Delete what tests make, on both sides."""
    from django.contrib.admin.models import LogEntry
    from django.db import connections

    from accounts.models import ApiToken, Membership, SignInFailure, Tenant, User
    from blog.models import Post
    from do_bridge.contrib.sessions.models import Session
    from do_bridge.members.models import DirtyFlag
    from do_bridge.tenancy.replicated.sql import run_batch
    from do_bridge.testing import empty_object

    rights = User.user_permissions.through
    aliases = [f"tenant/{slug}" for slug in SLUGS]
    tables = [
        model._meta.db_table
        for model in (LogEntry, Post, Membership, Session, ApiToken, rights, User, DirtyFlag, SignInFailure)
    ]
    for alias in [*aliases, "default"]:
        run_batch(connections[alias], [(f'DELETE FROM "{table}"', None) for table in tables])
    others = Tenant.objects.exclude(slug__in=SLUGS)
    for slug in others.values_list("slug", flat=True):
        empty_object(f"tenant/{slug}")
    others.delete()


@pytest.fixture
def sign_in(site):
    """Makes a client in which the named person is signed in."""

    def make(name):
        client = Client()
        client.force_login(getattr(site, name))
        return client

    return make


@pytest.fixture
def write_post(site):
    """Writes a post into a tenant, past its pages; returns its primary key."""
    from blog.models import Post

    def write(slug="acme", author="ada", **fields):
        user = getattr(site, author)
        values = {"title": "A title", "content": "Some text.", **fields}
        return Post.objects.using(f"tenant/{slug}").create(user_id=user.pk, **values).pk

    return write
