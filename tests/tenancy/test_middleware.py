"""The middleware: who is current during a request, and what views see of the path."""

import asyncio
import sys
from contextlib import aclosing

import pytest
from django.conf import settings
from django.core.management import call_command
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import get_script_prefix, resolve, reverse

from accounts.models import Tenant
from blog.models import Post
from do_bridge.tenancy import current, current_tenant, directory_context, tenant_context
from do_bridge.tenancy.middleware import TenantMiddleware
from do_bridge.tenancy.tenants import TenantLookup, lookup
from tests.tenancy.test_slugs import HOSTILE


@pytest.fixture
def seen():
    return []


@pytest.fixture
def middleware(seen):
    def view(request):
        seen.append(
            (
                current_tenant(),
                request.path_info,
                request.META["SCRIPT_NAME"],
                get_script_prefix(),
                request.path,
            )
        )
        return HttpResponse("ok")

    return TenantMiddleware(view)


def get(path, **extra):
    request = RequestFactory().get("/", **extra)
    # As the server decodes it: the factory would quote and cut what a hostile client sends.
    request.path_info = request.path = path
    return request


def test_a_tenants_path_makes_it_current_and_moves_the_prefix(acme, middleware, seen):
    request = get(f"/t/{acme.slug}/posts/3/")
    assert middleware(request).status_code == 200
    prefix = f"/t/{acme.slug}"
    assert seen == [(acme.slug, "/posts/3/", prefix, prefix + "/", prefix + "/posts/3/")]
    assert request.tenant == acme
    assert current_tenant() is None
    assert get_script_prefix() == "/"


def test_what_django_imports_late_is_imported_before_the_first_request(tmp_path, monkeypatch):
    names = {kind: f"late_{kind}_{tmp_path.name.replace('-', '_')}" for kind in ("tags", "processor")}
    for name in names.values():
        (tmp_path / f"{name}.py").write_text(
            "from django import template as t\nregister = t.Library()\ndef values(request):\n    return {}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    engine = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [f"{names['processor']}.values"],
            "libraries": {"late": names["tags"]},
        },
    }
    with override_settings(TEMPLATES=[engine]):
        assert not set(names.values()) & set(sys.modules)
        TenantMiddleware(lambda request: None)
        assert set(names.values()) <= set(sys.modules)
    for name in names.values():
        del sys.modules[name]


def test_a_script_name_of_the_server_stays_in_front(acme, middleware, seen):
    middleware(get(f"/t/{acme.slug}/x/", SCRIPT_NAME="/site"))
    assert seen[0][2:4] == (f"/site/t/{acme.slug}", f"/site/t/{acme.slug}/")


def test_urls_stay_inside_the_tenant(acme):
    made = []
    TenantMiddleware(lambda request: made.append(reverse("login")) or HttpResponse())(get(f"/t/{acme.slug}/"))
    assert made == [f"/t/{acme.slug}{reverse('login')}"]


def test_other_paths_leave_the_tenant_unset(db, middleware, seen):
    request = get("/accounts/")
    middleware(request)
    assert seen[0][:2] == (None, "/accounts/")
    assert request.tenant is None


def test_what_one_request_left_open_is_not_the_next_ones(acme):
    left, seen = [], []

    def view(request):
        seen.append(current_tenant())

        def rows():
            with tenant_context("of-an-abandoned-generator"):
                yield

        left.append(rows())
        next(left[-1])
        return HttpResponse()

    middleware = TenantMiddleware(view)
    for path in ("/accounts/", "/accounts/", f"/t/{acme.slug}/", "/admin/"):
        middleware(get(path))
    assert seen == [None, None, acme.slug, None]
    for generator in left:
        generator.close()
    assert current_tenant() is None


def test_the_admin_of_the_directory_works_on_its_own_rows(db):
    scopes = []
    TenantMiddleware(lambda request: scopes.append(current()) or HttpResponse())(get("/admin/blog/post/"))
    assert scopes[0].is_directory


def test_the_admin_of_a_tenant_works_on_the_tenants_rows(acme):
    scopes = []
    TenantMiddleware(lambda request: scopes.append(current()) or HttpResponse())(
        get(f"/t/{acme.slug}/admin/")
    )
    assert scopes[0].slug == acme.slug


def test_an_unknown_tenant_is_not_found_and_no_object_is_asked(db, middleware, seen, trips):
    with pytest.raises(Http404, match="tenant does not exist"):
        middleware(get("/t/nobody-has-this/"))
    assert trips.count == 1  # the directory
    assert seen == []
    assert "tenant/nobody-has-this" not in settings.DATABASES.live_aliases()


def test_a_hostile_slug_is_not_found_without_asking_anybody(db, middleware, seen, trips):
    for slug in HOSTILE:
        if slug and "/" not in slug:
            with pytest.raises(Http404, match="tenant does not exist"):
                middleware(get(f"/t/{slug}/"))
    assert trips.count == 0
    assert seen == []


def test_a_crooked_path_reaches_no_view_of_a_tenant(acme, seen, middleware):
    for path in (f"/t/../{acme.slug}/", f"/t/x/../{acme.slug}/", f"/t/{acme.slug.title()}/"):
        with pytest.raises(Http404, match="tenant does not exist"):
            middleware(get(path))
    middleware(get(f"/t//{acme.slug}/"))
    assert [found[0] for found in seen] == [None]


def test_a_case_variant_of_a_tenant_is_not_found(acme, middleware):
    with pytest.raises(Http404, match="tenant does not exist"):
        middleware(get(f"/t/{acme.slug.upper()}/"))


def test_a_missing_slash_is_added(acme, middleware, seen):
    request = get(f"/t/{acme.slug}", QUERY_STRING="page=2")
    response = middleware(request)
    assert (response.status_code, response["Location"]) == (301, f"/t/{acme.slug}/?page=2")
    assert seen == []


def test_an_exception_in_the_view_restores_everything(acme):
    def fail(request):
        raise KeyError

    with directory_context():
        with pytest.raises(KeyError, match="^$"):
            TenantMiddleware(fail)(get(f"/t/{acme.slug}/"))
        assert current().is_directory
    assert get_script_prefix() == "/"


def test_what_is_streamed_belongs_to_the_tenant(acme, zeta, in_both):
    with tenant_context(acme):
        Post.objects.create(title="streamed", content="-", user_id=in_both)

    def view(request):
        def pieces():
            yield f"{current_tenant()} {get_script_prefix()} "
            yield from Post.objects.values_list("title", flat=True)

        return StreamingHttpResponse(pieces())

    response = TenantMiddleware(view)(get(f"/t/{acme.slug}/"))
    with tenant_context(zeta):
        content = []
        for piece in response:
            assert current_tenant() == zeta.slug
            content.append(piece.decode())
    assert "".join(content) == f"{acme.slug} /t/{acme.slug}/ streamed"


def test_what_a_stream_does_when_its_visitor_has_gone_belongs_to_the_tenant(acme, zeta, in_both):
    def view(request):
        def pieces():
            try:
                yield "first"
                yield "second"
            finally:
                Post.objects.create(title="The end", content="-", user_id=in_both)

        return StreamingHttpResponse(pieces())

    response = TenantMiddleware(view)(get(f"/t/{acme.slug}/"))
    with tenant_context(zeta):
        assert next(iter(response)) == b"first"
        # As the server does it; Django swallows what is raised there.
        response.close()
        assert not Post.objects.exists()
    with tenant_context(acme):
        assert Post.objects.get().title == "The end"


def test_it_serves_async_views_and_what_they_stream(acme):
    async def view(request):
        async def pieces():
            yield f"{current_tenant()} "
            yield str(await Post.objects.acount())

        return StreamingHttpResponse(pieces())

    async def serve():
        request = AsyncRequestFactory().get(f"/t/{acme.slug}/")
        response = await TenantMiddleware(view)(request)
        assert request.script_name == f"/t/{acme.slug}"
        assert current_tenant() is None
        return b"".join([piece async for piece in response]).decode()

    assert asyncio.run(serve()) == f"{acme.slug} 0"


def test_what_an_async_stream_does_when_its_visitor_has_gone_belongs_to_the_tenant(acme, zeta):
    closed = []

    async def view(request):
        async def pieces():
            try:
                yield "first"
                yield "second"
            finally:
                closed.append((current_tenant(), get_script_prefix(), await Post.objects.acount()))
                gone.set()

        return StreamingHttpResponse(pieces())

    async def serve_the_first():
        response = await TenantMiddleware(view)(AsyncRequestFactory().get(f"/t/{acme.slug}/"))
        # As Django's handler does it.
        async with aclosing(aiter(response)) as content:
            assert await anext(content) == b"first"

    async def serve():
        async with tenant_context(zeta):
            await serve_the_first()
            await asyncio.wait_for(gone.wait(), 30)

    gone = asyncio.Event()
    asyncio.run(serve())
    assert closed == [(acme.slug, f"/t/{acme.slug}/", 0)]


def test_an_unknown_tenant_is_not_found_by_async_views_either(db):
    async def view(request):
        return HttpResponse()

    async def serve():
        await TenantMiddleware(view)(AsyncRequestFactory().get("/t/nobody-has-this/"))

    with pytest.raises(Http404, match="tenant does not exist"):
        asyncio.run(serve())


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"})
def test_a_subdomain_is_a_tenant_where_a_domain_is_configured(acme, middleware, seen):
    for host in (f"{acme.slug.upper()}.example.test:8000", f"{acme.slug}.example.test."):
        middleware(get("/posts/", HTTP_HOST=host))
        assert seen.pop() == (acme.slug, "/posts/", "", "/", "/posts/")
    for host in ("nobody-has-this.example.test", "a.b.example.test"):
        with pytest.raises(Http404, match="tenant does not exist"):
            middleware(get("/posts/", HTTP_HOST=host))
    middleware(get("/posts/", HTTP_HOST="example.test"))
    middleware(get(f"/t/{acme.slug}/posts/", HTTP_HOST="example.test"))
    assert [found[0] for found in seen] == [None, acme.slug]


LATE_URLS = """
from django.http import HttpResponse
from django.urls import path
from blog.models import Post

POSTS = Post.objects.all()
urlpatterns = [path("", lambda request: HttpResponse(POSTS.all().db))]
"""


def test_a_queryset_that_a_views_module_makes_is_no_tenants(acme, zeta, tmp_path, monkeypatch):
    (tmp_path / "late_urls.py").write_text(LATE_URLS)
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(ROOT_URLCONF="late_urls"):
        middleware = TenantMiddleware(lambda request: resolve(request.path_info).func(request))
        for tenant in (acme, zeta):
            answer = middleware(get(f"/t/{tenant.slug}/"))
            assert answer.content.decode() == f"tenant/{tenant.slug}"


def test_a_tenant_is_looked_up_once_for_many_requests(acme, middleware, trips):
    middleware(get(f"/t/{acme.slug}/"))
    middleware(get(f"/t/{acme.slug}/"))
    assert trips.count == 1


def test_a_changed_tenant_is_looked_up_again(acme, middleware):
    middleware(get(f"/t/{acme.slug}/"))
    acme.name = "Renamed"
    acme.save()
    request = get(f"/t/{acme.slug}/")
    middleware(request)
    assert request.tenant.name == "Renamed"
    call_command("tenant_delete", acme.slug, yes=True, verbosity=0)
    with pytest.raises(Http404, match="tenant does not exist"):
        middleware(get(f"/t/{acme.slug}/"))


def test_requests_do_not_share_the_row(acme):
    one, two = lookup.get(acme.slug), lookup.get(acme.slug)
    one.name = "changed"
    assert two.name == acme.name


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_CACHE_SIZE": 1, "TENANT_CACHE_SECONDS": 5})
def test_the_memory_is_short_and_small(acme, zeta, trips):
    now = [0.0]
    memory = TenantLookup(clock=lambda: now[0])
    memory.get(acme.slug)
    now[0] = 4
    memory.get(acme.slug)
    assert trips.count == 1
    now[0] = 6
    memory.get(acme.slug)
    assert trips.count == 2
    memory.get(zeta.slug)
    memory.get(acme.slug)
    assert trips.count == 4


def test_a_tenant_that_is_made_later_is_found(make_tenant, middleware):
    with pytest.raises(Http404, match="tenant does not exist"):
        middleware(get("/t/made-later/"))
    tenant = Tenant.objects.create(slug="made-later", name="Later")
    request = get("/t/made-later/")
    middleware(request)
    assert request.tenant == tenant
