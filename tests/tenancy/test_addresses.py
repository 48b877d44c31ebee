"""reverse() inside tenant_context(): the tenant's path and URLconf, in requests and outside of them."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import NoReverseMatch, get_script_prefix, reverse, set_script_prefix

from blog.models import Post
from do_bridge.tenancy import directory_context, tenant_context, unset_context
from do_bridge.tenancy.middleware import TenantMiddleware


@pytest.fixture
def by_domain():
    with override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"}):
        yield


def in_request(path, work, **extra):
    """Return what `work` returns in a view, for a request that the middleware gets."""
    made = []
    middleware = TenantMiddleware(lambda request: made.append(work()) or HttpResponse())
    request = RequestFactory().get("/", **extra)
    request.path_info = request.path = path
    before = get_script_prefix()
    set_script_prefix(request.META["SCRIPT_NAME"] or "/")
    try:
        middleware(request)
    finally:
        set_script_prefix(before)
    return made[0]


def login_in(slug):
    with tenant_context(slug):
        return reverse("login")


def test_urls_that_are_made_outside_of_a_request_are_the_tenants():
    with tenant_context("acme"):
        assert reverse("login") == "/t/acme/accounts/login/"
        assert Post(pk=3).get_absolute_url() == "/t/acme/posts/3/"
    assert reverse("login") == "/accounts/login/"
    with pytest.raises(NoReverseMatch, match="post"):
        Post(pk=3).get_absolute_url()


def test_contexts_nest_and_give_back_the_prefix_that_was_before():
    with tenant_context("acme"):
        with tenant_context("zeta"):
            assert reverse("login") == "/t/zeta/accounts/login/"
            for other in (directory_context, unset_context):
                with other():
                    assert reverse("login") == "/accounts/login/"
                    assert reverse("api-migrate") == "/api/migrate"
                    assert login_in("acme") == "/t/acme/accounts/login/"
            assert reverse("login") == "/t/zeta/accounts/login/"
        assert reverse("login") == "/t/acme/accounts/login/"
        with tenant_context("acme"):
            assert reverse("login") == "/t/acme/accounts/login/"
    assert get_script_prefix() == "/"


def test_an_exception_gives_back_the_prefix_too():
    with pytest.raises(ValueError, match="on the way"), tenant_context("acme"):
        raise ValueError("on the way")
    assert get_script_prefix() == "/"


def test_a_generator_that_is_closed_late_leaves_the_prefix_of_those_who_came_after_it():
    def pieces():
        with tenant_context("acme"):
            yield reverse("login")

    open_one = pieces()
    next(open_one)
    with tenant_context("zeta"):
        open_one.close()
        assert reverse("login") == "/t/zeta/accounts/login/"
    assert reverse("login") == "/accounts/login/"


def test_threads_and_tasks_have_prefixes_of_their_own():
    seen = {}

    def thread():
        seen["thread"] = reverse("login")
        seen["thread in zeta"] = login_in("zeta")

    async def task(slug, other):
        async with tenant_context(slug):
            await other.wait()
            return reverse("login"), await sync_to_async(reverse)("login")

    async def main():
        other = asyncio.Event()
        tasks = [asyncio.create_task(task(slug, other)) for slug in ("acme", "zeta")]
        await asyncio.sleep(0)
        seen["outside"] = reverse("login")
        other.set()
        return await asyncio.gather(*tasks)

    with tenant_context("acme"):
        running = threading.Thread(target=thread)
        running.start()
        running.join()
    assert asyncio.run(main()) == [(f"/t/{slug}/accounts/login/",) * 2 for slug in ("acme", "zeta")]
    assert seen == {
        "thread": "/accounts/login/",
        "thread in zeta": "/t/zeta/accounts/login/",
        "outside": "/accounts/login/",
    }


@override_settings(FORCE_SCRIPT_NAME="/site")
def test_a_script_name_that_is_forced_stays_in_front_of_the_tenants_path_in_every_thread():
    seen = []
    running = threading.Thread(target=lambda: seen.append(login_in("acme")))
    running.start()
    running.join()
    assert seen == ["/site/t/acme/accounts/login/"]
    set_script_prefix("/site")
    try:
        assert login_in("acme") == "/site/t/acme/accounts/login/"
        assert get_script_prefix() == "/site/"
    finally:
        set_script_prefix("/")


def test_a_request_keeps_its_own_prefix_whatever_is_entered_in_it(acme):
    def work():
        with directory_context():
            again = reverse("login"), login_in(acme.slug)
        return reverse("login"), *again, login_in("zeta"), reverse("login")

    own, zeta = f"/site/t/{acme.slug}/accounts/login/", "/site/t/zeta/accounts/login/"
    assert in_request(f"/t/{acme.slug}/", work, SCRIPT_NAME="/site") == (own, own, own, zeta, own)
    assert get_script_prefix() == "/"


def test_a_page_of_the_directory_names_a_tenants_urls_and_then_its_own_again(acme):
    def work():
        return reverse("login"), login_in("zeta"), reverse("login")

    wanted = ("/site/accounts/login/", "/site/t/zeta/accounts/login/", "/site/accounts/login/")
    assert in_request("/admin/", work, SCRIPT_NAME="/site") == wanted


def test_tenants_with_a_domain_have_no_path_before_their_urls(acme, by_domain):
    assert login_in("acme") == "/accounts/login/"
    work = lambda: (reverse("login"), login_in("zeta"))  # noqa: E731
    host = f"{acme.slug}.example.test"
    assert in_request("/", work, HTTP_HOST=host) == ("/accounts/login/",) * 2
    # Who came by a path has no host of another tenant's.
    by_path = in_request(f"/t/{acme.slug}/", work)
    assert by_path == (f"/t/{acme.slug}/accounts/login/", "/t/zeta/accounts/login/")


def test_djangos_test_client_serves_pages_without_the_prefix_of_the_block_around_it(acme):
    with tenant_context(acme):
        assert Client().get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
        assert Post(pk=3).get_absolute_url() == f"/t/{acme.slug}/posts/3/"
        page = Client().get(reverse("login"))
        assert page.status_code == 200
        assert page.request["PATH_INFO"] == f"/t/{acme.slug}/accounts/login/"
