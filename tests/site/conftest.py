"""Two tenants with people in them, on a real D1 and real objects, as before for each test."""

import types
from copy import deepcopy

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client

from tests.browser import chromium, server  # noqa: F401 - fixtures

SLUGS = ("acme", "globex")
ALIASES = [f"tenant/{slug}" for slug in SLUGS]


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


class SiteRows:
    """The people and their sessions, written once for a module; `again()` restores them."""

    def __init__(self):
        self.make()

    def make(self):
        from django.conf import settings

        from do_bridge.tenancy.tenants import lookup

        tenants = ready_tenants()
        _empty()
        lookup.forget()
        self.people = _people(tenants)
        self.sessions = {}
        for name, user in self.people.items():
            client = Client()
            client.force_login(user)
            self.sessions[name] = client.cookies[settings.SESSION_COOKIE_NAME]
        self._rows = {alias: _rows_of(alias) for alias in (*ALIASES, "default")}

    def again(self):
        """Return the site as it was made: copies of the people, and the tenants' rows."""
        from accounts.models import Tenant
        from do_bridge.tenancy.replicated import users
        from do_bridge.tenancy.tenants import lookup

        tenants = {tenant.slug: tenant for tenant in Tenant.objects.all()}
        if not tenants.keys() >= set(SLUGS):
            self.make()
            tenants = ready_tenants()
        for alias, rows in self._rows.items():
            rows.restore(connections[alias])
        # Copies of people have gone, and these people come again with their keys.
        users._known.clear()
        _remove([slug for slug in tenants if slug not in SLUGS])
        lookup.forget()
        kept = {slug: tenants[slug] for slug in SLUGS}
        return types.SimpleNamespace(tenants=kept, sessions=dict(self.sessions), **deepcopy(self.people))


@pytest.fixture(scope="module")
def site_rows(django_db_setup, django_db_blocker):
    """The SiteRows of a module."""
    with django_db_blocker.unblock():
        yield (rows := SiteRows())
        rows.again()
        _empty()


@pytest.fixture
def site(site_rows, django_db_blocker):
    """The people: ada owns acme, bo is a member of it, gil of globex; root is staff and nobody's."""
    with django_db_blocker.unblock():
        yield site_rows.again()


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


def _tables():
    """Return the names of the tables that tests write to, on both sides."""
    from django.contrib.admin.models import LogEntry

    from accounts.models import ApiToken, Membership, SignInFailure, User
    from blog.models import Post
    from do_bridge.contrib.sessions.models import Session
    from do_bridge.members.models import DirtyFlag

    rights = User.user_permissions.through
    models = (LogEntry, Post, Membership, Session, ApiToken, rights, User, DirtyFlag, SignInFailure)
    return [model._meta.db_table for model in models]


def _rows_of(alias):
    """Return the rows of these tables; the ledger's leases and the counters of keys only grow."""
    from do_bridge.backends.remote_sqlite import snapshot

    connection = connections[alias]
    tables = [table for table in snapshot._tables(connection) if table.name in _tables()]
    return snapshot.Snapshot(connection, tables)


def _empty():
    """Delete what is in these tables."""
    from do_bridge.tenancy.replicated.sql import run_batch

    for alias in (*ALIASES, "default"):
        run_batch(connections[alias], [(f'DELETE FROM "{table}"', None) for table in _tables()])


def _remove(slugs):
    """Remove tenants that tests have made."""
    from accounts.models import Tenant
    from do_bridge.testing import empty_object

    for slug in slugs:
        empty_object(f"tenant/{slug}")
    if slugs:
        Tenant.objects.filter(slug__in=slugs).delete()


@pytest.fixture
def sign_in(site, settings):
    """Makes a client in which the named person is signed in."""

    def make(name):
        client = Client()
        if name in site.sessions:
            client.cookies[settings.SESSION_COOKIE_NAME] = site.sessions.pop(name).value
        else:
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
