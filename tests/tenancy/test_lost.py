"""A tenant whose object is empty, although the ledger says that it is ready, is refused and not made anew."""

import asyncio
import html
import logging
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from accounts.models import User
from blog.models import Post
from do_bridge.inspection.inspected import Inspected
from do_bridge.management.commands.migrate import Command as Migrate
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import NO_FENCE, connected, erase
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.schema.errors import TenantLost
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object
from tests.tenancy.cut_off import cut_off
from tests.tenancy.newer_code import RATING

LOST = "is empty, but the shared database records that it had data"


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def lost(lived_in):
    """The slug of a tenant that had data, whose object is empty now."""
    lose_data(lived_in.slug)
    return lived_in.slug


def lose_data(*slugs):
    """Erase tenants' objects as no command of the product would: D1 does not learn of it."""
    for slug in slugs:
        with connected(tenant_alias(slug)) as connection:
            erase(connection, NO_FENCE)
        connections[tenant_alias(slug)].close()


def titles(slug):
    return list(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))


def migrate(*arguments):
    out = StringIO()
    try:
        call_command("migrate", *arguments, stdout=out, stderr=out, interactive=False)
    except CommandError as error:
        return f"{out.getvalue()}\n{error}"
    return out.getvalue()


def typed_migrate(slug, *arguments):
    command = Migrate()
    command.is_typed = True
    call_command(command, *arguments, database=tenant_alias(slug), verbosity=0, interactive=False)


def listed(slug):
    out = StringIO()
    call_command("list_tenants", slug, stdout=out)
    return out.getvalue()


def assert_refused(slug):
    """Assert that the object is as empty as before, and that D1 says what is the matter."""
    assert not read_tenant(slug).has_tables
    assert read_tenant(slug).fence == 0
    state = TenantState.objects.get(slug=slug)
    assert (state.state, state.status) == ("ready", "migrate failed")
    assert LOST in state.error


def test_a_use_of_a_lost_tenant_is_refused_and_recorded(lost):
    for _ in range(2):
        with pytest.raises(TenantLost, match=LOST) as raised:
            titles(lost)
    assert "RELAY_URL" in str(raised.value)
    for command in (f"tenant_restore {lost}", f"tenant_load {lost} FILE --replace", f"create_tenant {lost}"):
        assert f"manage.py {command}" in str(raised.value)
    assert_refused(lost)
    assert "migrate failed" in listed(lost)
    assert LOST in listed(lost)


def test_a_write_to_a_lost_tenant_is_refused(lost):
    with tenant_context(lost), pytest.raises(TenantLost, match=LOST):
        Post.objects.create(title="New?", content="-")
    assert_refused(lost)


def test_a_lost_tenant_is_not_moved_on_a_stand_in_for_jurisdictions(lost):
    with pytest.raises(CommandError, match=LOST):
        call_command("tenant_move", lost, "--jurisdiction", "eu", stdout=StringIO())
    assert_refused(lost)
    assert leases.look(lost).jurisdiction == ""


def test_the_page_of_a_lost_tenant_is_a_503_that_says_what_to_do(lost):
    lookup.forget()
    response = Client().get(f"/t/{lost}/")
    assert response.status_code == 503
    text = html.unescape(response.content.decode())
    assert LOST in text
    assert f"manage.py create_tenant {lost}" in text
    assert_refused(lost)


@pytest.mark.django_db(transaction=True)
def test_an_async_use_of_a_lost_tenant_is_refused(lost):
    async def read():
        return [post async for post in Post.objects.using(tenant_alias(lost))]

    with pytest.raises(TenantLost, match=LOST):
        asyncio.run(read())
    assert_refused(lost)


def test_a_lost_tenant_is_refused_where_first_uses_do_not_migrate(lost, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    with pytest.raises(TenantLost, match=LOST):
        titles(lost)
    assert_refused(lost)


def test_a_migration_of_one_lost_tenant_is_refused(lost):
    for _ in range(2):
        assert LOST in migrate("--database", tenant_alias(lost))
        assert_refused(lost)


def test_a_typed_migration_of_one_lost_tenant_is_refused(lost):
    for _ in range(2):
        with pytest.raises(CommandError, match=LOST):
            typed_migrate(lost)
        assert_refused(lost)


def test_a_migration_of_all_tenants_refuses_the_lost_ones_alone(make_tenant, newer):
    first, second, sound = sorted(make_tenant().slug for _ in range(3))
    lose_data(first, second)
    with newer(RATING):
        for _ in range(2):
            output = migrate("--database", "tenant", "--jobs", "1")
            assert output.count(LOST) == 2
            assert f"2 of 3 tenants failed: {first}, {second}" in output
        assert ledger.is_at(TenantState.objects.get(slug=sound), code_fingerprint())
        assert_refused(first)
        assert_refused(second)


def test_a_migration_of_all_tenants_refuses_a_lost_one_that_its_use_has_found(lost):
    with pytest.raises(TenantLost, match=LOST):
        titles(lost)
    for arguments in ((), ("--check",), ("--plan",)):
        assert LOST in migrate("--database", "tenant", *arguments)
        assert_refused(lost)


def test_check_and_plan_show_a_lost_tenant_that_nobody_has_found_yet(make_tenant, newer):
    lost, sound = sorted(make_tenant().slug for _ in range(2))
    lose_data(lost)
    with newer(RATING):
        check = migrate("--database", "tenant", "--check")
        assert LOST in check
        assert f"1 of 2 tenants failed: {lost}" in check
        plan = migrate("--database", "tenant", "--plan")
        assert LOST in plan
        assert f"Tenant {sound}" in plan
        with pytest.raises(CommandError, match=LOST):
            typed_migrate(lost, "--check")
    assert not read_tenant(lost).has_tables


def test_members_are_not_copied_into_a_lost_tenant(lost, author):
    with pytest.raises(CommandError, match=lost):
        call_command("sync_members", lost, stdout=StringIO(), stderr=StringIO())
    assert_refused(lost)


def test_a_lost_tenant_is_made_empty_by_create_tenant_alone(lost, author):
    with pytest.raises(TenantLost, match=LOST):
        titles(lost)
    call_command("create_tenant", lost, stdout=StringIO())
    assert titles(lost) == []
    with tenant_context(lost):
        Post.objects.create(title="New", content="-", user_id=author.pk)
    assert TenantState.objects.get(slug=lost).status == "Ready"


def test_the_creation_of_a_lost_tenant_that_is_killed_is_finished_by_a_use(lost):
    cut_off(lost, Operation.CREATE)
    lookup.forget()
    assert titles(lost) == []


def test_a_lost_tenant_comes_back_from_a_file(lived_in, author, tmp_path):
    file, slug = tmp_path / "dump.sqlite3", lived_in.slug
    call_command("tenant_dump", slug, str(file), verbosity=0)
    lose_data(slug)
    with pytest.raises(TenantLost, match=LOST):
        titles(slug)
    call_command("tenant_load", slug, str(file), "--replace", "--yes", stdout=StringIO())
    assert titles(slug) == ["Kept?"]
    assert TenantState.objects.get(slug=slug).status == "Ready"


def test_a_tenant_that_is_found_again_is_as_before(lived_in, tmp_path):
    slug = lived_in.slug
    # What a wrong RELAY_URL does: the use fails elsewhere, and the object itself is as it was.
    row = leases.look(slug)
    leases.fail(leases.take_many([row], Operation.MIGRATE)[slug], TenantLost(slug))
    assert titles(slug) == ["Kept?"]
    assert "0 failed: 1 migrated" in migrate("--database", "tenant")
    assert TenantState.objects.get(slug=slug).status == "Ready"


def test_the_admin_shows_a_lost_tenant_as_failed(lost, client):
    client.force_login(User.objects.create_superuser("root"))
    with pytest.raises(TenantLost, match=LOST):
        titles(lost)
    for url in (
        f"{reverse('admin:databases')}?q={lost}",
        reverse("admin:tenant_home", args=[Inspected(lost)]),
    ):
        text = html.unescape(client.get(url).content.decode())
        assert "migrate failed" in text
        assert f"The Durable Object of tenant '{lost}' is empty" in text
    assert_refused(lost)


def test_nothing_is_dumped_of_a_lost_tenant(lost, tmp_path):
    with pytest.raises(CommandError, match=LOST):
        call_command("tenant_dump", lost, str(tmp_path / "dump.sqlite3"), verbosity=0)
    assert list(tmp_path.iterdir()) == []


def test_a_tenant_that_a_test_has_emptied_is_made_by_its_use(lived_in):
    empty_object(tenant_alias(lived_in.slug))
    assert titles(lived_in.slug) == []


def test_a_creation_that_two_kills_interrupted_is_finished_by_a_use(unregistered, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt("killed")

    slug = unregistered
    with monkeypatch.context() as patched:
        patched.setattr("do_bridge.tenancy.lifecycle.creation._fill", killed)
        patched.setattr("do_bridge.tenancy.lifecycle.creation._undo", lambda *args: None)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            create_tenant(slug)
    TenantState.objects.filter(slug=slug).update(expires="2000-01-01T00:00:00+00:00")
    lease = leases.take(slug, Operation.MIGRATE, lambda: read_tenant(slug))
    assert lease.fence
    TenantState.objects.filter(slug=slug).update(expires="2000-01-01T00:00:00+00:00")
    lookup.forget()
    assert titles(slug) == []
