"""Blocks that cover a tenant, in requests, in async code and in Django's test cases."""

import asyncio

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import connections, transaction
from django.test import AsyncClient, Client, TestCase, TransactionTestCase, override_settings

from accounts.models import Tenant, User
from blog.models import Post
from do_bridge.tenancy import register_tenant, tenant_alias, tenant_context
from do_bridge.testing import TenantTestCase
from tests.tenancy import linked_urls
from tests.tenancy.linked_urls import Failed


def alias(tenant):
    return tenant_alias(tenant.slug)


@pytest.fixture
def visit(acme, in_both):
    """visit(path): what a view saw, for a request below the tenant's path; Failed where the view fails."""

    def get(path, is_async=False):
        # The default connection may be another one than that of the test's tenants.
        Tenant.objects.get_or_create(slug=acme.slug)
        linked_urls.SEEN.clear()
        linked_urls.AUTHOR[:] = [in_both]
        client = async_to_sync(AsyncClient().get) if is_async else Client().get
        with override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_URLCONF": linked_urls.__name__}):
            client(f"/t/{acme.slug}{path}")
        return list(linked_urls.SEEN)

    return get


@pytest.fixture
def atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.mark.parametrize("path", ["/decorated/", "/classy/"])
def test_a_decorated_view_is_a_block(shared, acme, visit, titles, path):
    with pytest.raises(Failed, match="undo"):
        visit(path + "?fail=1")
    assert titles(acme) == []
    assert visit(path) == [True, "default", alias(acme)]
    assert titles(acme) == ["one", "two"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_request_is_a_block_where_the_default_has_atomic_requests(
    shared, atomic_requests, acme, visit, titles, is_async
):
    with pytest.raises(Failed, match="undo"):
        visit("/work/?fail=1", is_async)
    visit("/work/?swallow=1", is_async)
    assert titles(acme) == []
    assert visit("/work/", is_async) == [True, "default", alias(acme)]
    assert titles(acme) == ["one", "two"]


def test_a_request_that_leaves_its_tenant_alone_costs_nothing_more(atomic_requests, visit, trips):
    visit("/quiet/")
    before = trips.count
    visit("/quiet/")
    assert trips.count == before + 2  # the fixture's own and the view's


def test_a_view_without_atomic_requests_is_no_block(shared, atomic_requests, acme, visit, titles):
    with pytest.raises(Failed, match="undo"):
        visit("/apart/?fail=1")
    assert titles(acme) == ["one", "two"]


def test_what_an_async_view_runs_in_a_thread_is_a_block(acme, atomic_requests, visit, titles):
    with pytest.raises(Failed, match="undo"):
        visit("/slow/?fail=1", is_async=True)
    assert titles(acme) == []
    assert visit("/slow/", is_async=True) == [True, "default", alias(acme)]


def test_tasks_of_two_tenants_have_blocks_of_their_own(acme, zeta, write, titles):
    @transaction.atomic
    def work(title):
        write(title)
        if title == "undone":
            raise Failed("undo")

    async def task(tenant, title):
        async with tenant_context(tenant):
            await sync_to_async(work)(title)

    async def both():
        pairs = [(acme, "kept"), (zeta, "undone"), (acme, "undone"), (zeta, "kept")]
        return await asyncio.gather(*(task(*pair) for pair in pairs), return_exceptions=True)

    assert [type(each) for each in asyncio.run(both())] == [type(None), Failed, Failed, type(None)]
    assert (titles(acme), titles(zeta)) == (["kept"], ["kept"])


# Registered by other test cases too: some tests list every alias that there is.
CASE = "case-one"
CASE_ALIAS = register_tenant(CASE)


class Cases:
    """What holds in each of Django's test cases."""

    databases = frozenset({"default", CASE_ALIAS})

    def setUp(self):
        User.objects.using(CASE_ALIAS).create(pk=1, username="member")

    def write(self, title):
        with tenant_context(CASE):
            Post.objects.create(title=title, content="-", user_id=1)

    def titles(self):
        return list(Post.objects.using(CASE_ALIAS).order_by("pk").values_list("title", flat=True))

    def test_a_block_is_undone(self):
        assert self.titles() == []
        with tenant_context(CASE):
            with pytest.raises(Failed, match="undo"), transaction.atomic():
                self.write("undone")
                raise Failed("undo")
            with transaction.atomic():
                self.write("kept")
                with pytest.raises(Failed, match="undo"), transaction.atomic():
                    self.write("undone")
                    raise Failed("undo")
        assert self.titles() == ["kept"]

    def test_a_block_is_durable(self):
        with tenant_context(CASE), transaction.atomic(durable=True):
            self.write("kept")
        assert self.titles() == ["kept"]

    def test_two_tests_see_nothing_of_each_other(self):
        assert self.titles() == []
        with tenant_context(CASE), transaction.atomic():
            self.write("kept")


class TestCases(Cases, TestCase):
    def test_callbacks_are_captured(self):
        seen = []
        with self.captureOnCommitCallbacks(using=CASE_ALIAS, execute=True) as callbacks:  # noqa: SIM117
            with tenant_context(CASE), transaction.atomic():
                self.write("kept")
                transaction.on_commit(lambda: seen.append("tenant"), using=CASE_ALIAS)
        # D1 holds no transaction for a test, so nothing is left to be captured.
        assert len(callbacks) + len(seen) in (1, 2)
        assert seen == ["tenant"]


class TestTransactionCases(Cases, TransactionTestCase):
    def test_callbacks_run(self):
        seen = []
        with tenant_context(CASE), transaction.atomic():
            self.write("kept")
            transaction.on_commit(lambda: seen.append("tenant"), using=CASE_ALIAS)
            transaction.on_commit(lambda: seen.append("default"))
        assert seen == ["default", "tenant"]


class TestTenantCases(Cases, TenantTestCase):
    tenant_slug = CASE
