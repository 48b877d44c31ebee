"""Tenants that live for one test, with their rows in the directory."""

# Models are imported in the fixtures: this file is read before the settings' environment is ready.
import pytest


@pytest.fixture
def make_tenant(db):
    """Makes tenants with a row in the directory and a provisioned object; returns the row."""
    from do_bridge.tenancy.tenants import lookup
    from tests.tenancy import pool

    made = []

    def make(prefix="t"):
        tenant = pool.take(prefix)
        made.append(tenant.slug)
        return tenant

    yield make
    for slug in made:
        pool.give_back(slug)
    lookup.forget()


@pytest.fixture
def acme(make_tenant):
    return make_tenant("acme")


@pytest.fixture
def zeta(make_tenant):
    return make_tenant("zeta")


@pytest.fixture
def author(db):
    """A user of the directory."""
    from accounts.models import User

    return User.objects.create_user("ada", password="secret-of-ada", name="Ada")


@pytest.fixture
def lived_in(acme, author):
    """A tenant with a member and a post."""
    from blog.models import Post
    from do_bridge.members.syncing import add_member
    from do_bridge.tenancy import tenant_context

    add_member(author, acme)
    with tenant_context(acme):
        Post.objects.create(title="Kept?", content="-", user_id=author.pk)
    return acme


@pytest.fixture
def unregistered(db):
    """A slug without a tenant; whatever a test makes of it is emptied."""
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.lifecycle import ledger
    from do_bridge.testing import empty_object, unique_slug

    slug = unique_slug("other")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


@pytest.fixture
def in_both(acme, zeta, author):
    """The author's copies in both tenants, under the same key; returns that key."""
    from accounts.models import User
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.replicated.sql import copy_rows

    for tenant in (acme, zeta):
        copy_rows(User, [author], tenant_alias(tenant.slug))
    return author.pk


@pytest.fixture
def empty_ledger(db):
    """The ledger without the tenants that other modules register: Django's test set-up migrates those."""
    from do_bridge.models import TenantState

    TenantState.objects.all().delete()


@pytest.fixture
def newer(tmp_path):
    """Makes the code newer by a migration with the given operations, until the test or a block ends."""
    from tests.tenancy.newer_code import newer_code

    def make(*operations, **options):
        return newer_code(tmp_path, *operations, **options)

    return make


@pytest.fixture
def no_renewals(monkeypatch, settings):
    """Lets leases expire at once: nobody renews them, as of a process that stands still."""
    from contextlib import nullcontext

    from do_bridge.tenancy.lifecycle.lease import leases

    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.001}
    monkeypatch.setattr(leases, "kept", lambda *taken: nullcontext())


@pytest.fixture
def no_schemas():
    """Lets this process forget what it knows of schemas, before the test and after it."""
    from do_bridge.tenancy.schema import known

    known.forget()
    yield
    known.forget()


@pytest.fixture
def load(tmp_path, db):
    """Dumps a tenant and loads the file as another; returns (its slug, what the command wrote)."""
    from io import StringIO

    from django.core.management import call_command

    from do_bridge.tenancy import tenant_alias
    from do_bridge.testing import empty_object, unique_slug

    made = []

    def run(source):
        made.append(unique_slug("loaded"))
        file, out = tmp_path / f"{made[-1]}.sqlite3", StringIO()
        call_command("tenant_dump", source, str(file), verbosity=0)
        call_command("tenant_load", made[-1], str(file), stdout=out, stderr=out, no_color=True)
        return made[-1], out.getvalue()

    yield run
    for slug in made:
        empty_object(tenant_alias(slug))


@pytest.fixture(params=["d1", "d1_optimistic", "durable_object"])
def shared(request, in_both, make_tenant):
    """The default connection, on each engine."""
    from django.db import connections

    from do_bridge.backends.d1.base import OptimisticDatabaseWrapper
    from do_bridge.backends.durable_object.base import DatabaseWrapper
    from do_bridge.tenancy import tenant_alias

    before = connections["default"]
    if request.param == "d1":
        yield before
        return
    if request.param == "d1_optimistic":
        options = before.settings_dict["OPTIONS"] | {"transactions": "optimistic"}
        connections["default"] = connection = OptimisticDatabaseWrapper(
            before.settings_dict | {"OPTIONS": options}, "default"
        )
        yield connection
        connection.close()
        connections["default"] = before
        return
    # A tenant's object has every table.
    settings = dict(connections[tenant_alias(make_tenant("shared").slug)].settings_dict)
    connections["default"] = connection = DatabaseWrapper(settings, "default")
    yield connection
    connection.close()
    connections["default"] = before


@pytest.fixture
def write(in_both):
    """write(title): a post of the current tenant."""
    from blog.models import Post

    return lambda title, **fields: Post.objects.create(title=title, content="-", user_id=in_both, **fields)


@pytest.fixture
def titles():
    """titles(tenant): what stands in a tenant's object, or in its open transaction."""
    from blog.models import Post
    from do_bridge.tenancy import tenant_alias

    def read(tenant):
        posts = Post.objects.using(tenant_alias(tenant.slug))
        return list(posts.order_by("pk").values_list("title", flat=True))

    return read


@pytest.fixture
def calls(caplog):
    """calls(): (alias, operation) of every request so far."""
    caplog.set_level("DEBUG", "do_bridge.queries")
    return lambda: [(r.alias, r.operation) for r in caplog.records if r.name == "do_bridge.queries"]


@pytest.fixture
def make_moved(db, author):
    """Makes tenants with a member and a post, and empties whatever becomes of them in any jurisdiction."""
    from do_bridge.tenancy.lifecycle.creation import create_tenant
    from do_bridge.testing import unique_slug
    from tests.tenancy.moves import clear, write

    made = []

    def make(**options):
        made.append(unique_slug("m"))
        create_tenant(made[-1], "Moved", [author], **options)
        write(made[-1], author, "Before")
        return made[-1]

    yield make
    for slug in made:
        clear(slug)
