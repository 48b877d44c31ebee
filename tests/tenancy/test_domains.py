"""Tenants' own domains: hosts that the middleware looks up, reserved names, checks."""

import asyncio

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.db.models.signals import post_delete, post_save
from django.http import Http404, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.test.utils import isolate_apps
from django.urls import reverse

from accounts.models import Tenant
from accounts.validators import validate_tenant_slug
from do_bridge.checks.domains import check_cookie_domains, check_domain_model, check_shared_hosts
from do_bridge.exceptions import InvalidSlug
from do_bridge.tenancy import current_tenant, domains
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.links import directory_root, tenant_root
from do_bridge.tenancy.middleware import TenantMiddleware
from do_bridge.tenancy.slugs import validate_new_slug

SHARED = {"DOMAIN_MODEL": "accounts.Domain", "SHARED_HOSTS": ["site.example", ".site.example"]}


@pytest.fixture
def use(settings):
    """Sets keys of DO_BRIDGE, and any hosts may come."""
    settings.ALLOWED_HOSTS = ["*"]

    def change(**values):
        settings.DO_BRIDGE = {**settings.DO_BRIDGE, **values}

    change(**SHARED)
    return change


@pytest.fixture
def domain(db, use):
    """A model with a table in D1; its hosts are looked up while the test runs."""
    with isolate_apps("accounts") as apps:

        class Domain(models.Model):
            host = models.CharField(max_length=253, unique=True, validators=[domains.validate_domain])
            tenant = models.ForeignKey(Tenant, models.CASCADE)

            class Meta:
                app_label = "accounts"

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(domains, "domain_model", lambda: Domain)
            with connections["default"].schema_editor() as editor:
                editor.create_model(Domain)
            for signal in (post_save, post_delete):
                signal.connect(domains._forget, sender=Domain)
            domains.domains.forget()
            yield Domain
            domains.domains.forget()
            with connections["default"].schema_editor() as editor:
                editor.delete_model(Domain)
        del apps


@pytest.fixture
def visit():
    """Returns what a view saw at a host: (the tenant, a URL, links to elsewhere)."""

    def view(request):
        roots = directory_root(request), tenant_root(request, "zeta")
        request.seen = current_tenant(), reverse("login"), roots
        return HttpResponse()

    def at(host, path="/posts/"):
        request = RequestFactory().get(path, HTTP_HOST=host)
        TenantMiddleware(view)(request)
        return request.seen

    return at


def test_a_host_of_a_tenant_is_served_inside_it_whatever_its_case_and_port(acme, domain, visit):
    domain.objects.create(host="blog.acme.example", tenant=acme)
    for host in ("blog.acme.example", "Blog.ACME.example:8443", "blog.acme.example."):
        slug, url, roots = visit(host)
        assert (slug, url) == (acme.slug, "/accounts/login/")
        assert roots == ("http://site.example/", "http://site.example/t/zeta/")


def test_a_path_on_an_own_domain_never_leads_to_another_tenant(acme, zeta, domain, visit):
    domain.objects.create(host="blog.acme.example", tenant=acme)
    assert visit("blog.acme.example", f"/t/{zeta.slug}/posts/")[0] == acme.slug
    assert visit("blog.acme.example", "/admin/")[0] == acme.slug


@pytest.mark.parametrize("host", ["nobody.example", "acme.example", "10.0.0.1", "[::1]:80", "localhost"])
def test_an_unknown_host_is_not_found_and_never_the_shared_site(acme, domain, visit, host):
    domain.objects.create(host="blog.acme.example", tenant=acme)
    for path in ("/", "/admin/", f"/t/{acme.slug}/"):
        with pytest.raises(Http404, match="No site is served at"):
            visit(host, path)


def test_a_host_is_refused_while_d1_has_no_table_of_hosts(acme, use, visit, monkeypatch):
    def away(host):
        raise RuntimeError("D1 is away")

    monkeypatch.setattr(domains.DomainLookup, "_read", staticmethod(away))
    with pytest.raises(RuntimeError, match="away"):
        visit("blog.acme.example")


def test_the_hosts_of_the_shared_site_cost_no_round_trip(acme, domain, visit, trips):
    before = trips.count
    for host in ("site.example", "www.site.example", "testserver"):
        assert visit(host, "/")[0] is None
    assert trips.count == before
    assert visit("site.example", f"/t/{acme.slug}/")[:2] == (acme.slug, f"/t/{acme.slug}/accounts/login/")


def test_a_host_is_remembered_until_it_is_changed(acme, zeta, domain, visit, trips):
    row = domain.objects.create(host="blog.acme.example", tenant=acme)
    assert visit("blog.acme.example")[0] == acme.slug
    before = trips.count
    assert visit("blog.acme.example")[0] == acme.slug
    assert trips.count == before
    row.tenant = zeta
    row.save()
    assert visit("blog.acme.example")[0] == zeta.slug
    row.delete()
    with pytest.raises(Http404, match="No site"):
        visit("blog.acme.example")


def test_a_host_that_was_changed_elsewhere_is_forgotten_in_time(acme, zeta, domain):
    now = [0]
    lookup = domains.DomainLookup(clock=lambda: now[0])
    row = domain.objects.create(host="blog.acme.example", tenant=acme)
    assert lookup.get("blog.acme.example") == acme.slug
    domain.objects.filter(pk=row.pk).update(tenant=zeta)
    assert lookup.get("blog.acme.example") == acme.slug
    now[0] = 31
    assert lookup.get("blog.acme.example") == zeta.slug


def test_the_cache_is_bounded(acme, domain, use):
    use(TENANT_CACHE_SIZE=2)
    for number in range(4):
        domain.objects.create(host=f"b{number}.acme.example", tenant=acme)
    lookup = domains.DomainLookup()
    assert {lookup.get(f"b{number}.acme.example") for number in range(4)} == {acme.slug}
    assert len(lookup._slugs) == 2


def test_a_host_is_looked_up_under_asgi_too(acme, domain):
    domain.objects.create(host="blog.acme.example", tenant=acme)

    async def view(request):
        return HttpResponse(current_tenant())

    async def serve():
        request = AsyncRequestFactory().get("/")
        request.META["HTTP_HOST"] = "blog.acme.example"
        return await TenantMiddleware(view)(request)

    assert asyncio.run(serve()).content.decode() == acme.slug


def test_a_subdomain_of_the_tenants_domain_needs_no_row_and_reserved_ones_are_the_shared_site(
    acme, domain, use, visit, trips
):
    use(TENANT_DOMAIN="example.test", SHARED_HOSTS=())
    assert visit(f"{acme.slug}.example.test")[0] == acme.slug
    assert visit("www.example.test")[0] is None
    assert visit("example.test", f"/t/{acme.slug}/")[0] == acme.slug
    with pytest.raises(Http404, match="tenant does not exist"):
        visit("nobody-has-this.example.test")


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"})
def test_without_own_domains_other_hosts_are_the_shared_site_as_ever(acme, visit):
    assert visit("testserver")[0] is None
    assert visit("www.example.test")[0] is None


# Reserved slugs


def test_no_way_makes_a_tenant_with_a_reserved_slug(db, tmp_path):
    with pytest.raises(InvalidSlug, match="'www' is reserved by DO_BRIDGE"):
        create_tenant("www")
    with pytest.raises(ValidationError, match="reserved"):
        validate_tenant_slug("www")
    with pytest.raises(CommandError, match="reserved"):
        call_command("create_tenant", "www")
    lines = tmp_path / "tenants.csv"
    lines.write_text("mail,Mail\n")
    with pytest.raises(CommandError, match="reserved"):
        call_command("create_tenants", str(lines))
    with pytest.raises(CommandError, match="reserved"):
        call_command("tenant_load", "api", str(lines))
    assert not Tenant.objects.filter(slug__in=["www", "mail", "api"]).exists()


def test_a_project_reserves_what_it_likes(use):
    use(RESERVED_SLUGS=("shop",))
    assert validate_new_slug("www") == "www"
    with pytest.raises(InvalidSlug, match="reserved"):
        validate_new_slug("shop")


# What a host may be


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "b.acme.example:80",
        "B.acme.example",
        "-a.example",
        "a..example",
        "bücher.example",
    ],
)
def test_what_is_no_host_name_is_refused_for_a_field(use, host):
    with pytest.raises(ValidationError, match="host name"):
        domains.validate_domain(host)


@pytest.mark.parametrize("host", ["site.example", "a.site.example", "acme.example.test", "www.example.test"])
def test_a_host_of_the_site_itself_is_refused_for_a_field(use, host):
    use(TENANT_DOMAIN="example.test")
    with pytest.raises(ValidationError, match="belongs to the site"):
        domains.validate_domain(host)


def test_a_host_name_passes_for_a_field(use):
    domains.validate_domain("blog.acme.example")
    domains.validate_domain("xn--bcher-kva.example")


# Checks


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accounts.Nothing", "which is not a model"),
        ("nothing", "which is not a model"),
        ("accounts.User", "no field named 'host'"),
    ],
)
def test_a_model_without_hosts_is_an_error(use, name, message):
    use(DOMAIN_MODEL=name)
    (error,) = check_domain_model()
    assert error.id == "do_bridge.E021"
    assert message in error.msg


def test_a_fitting_model_passes_and_one_with_two_tenants_does_not(domain, monkeypatch):
    assert check_domain_model() == []
    field = domain._meta.get_field("host")
    monkeypatch.setattr(field, "unique", False)
    assert "not unique" in check_domain_model()[0].msg
    monkeypatch.setattr(field, "unique", True)
    monkeypatch.setattr(domain._meta.get_field("tenant"), "many_to_one", False)
    assert "has 0 foreign keys" in check_domain_model()[0].msg


def test_hosts_of_the_shared_site_are_required(use):
    assert check_shared_hosts() == []
    use(SHARED_HOSTS=())
    assert [error.id for error in check_shared_hosts()] == ["do_bridge.E022"]
    use(SHARED_HOSTS=["*"])
    assert "'*'" in check_shared_hosts()[0].msg
    use(SHARED_HOSTS=(), TENANT_DOMAIN="example.test")
    assert check_shared_hosts() == []
    use(DOMAIN_MODEL=None, TENANT_DOMAIN="")
    assert check_shared_hosts() == []


def test_a_cookie_for_one_domain_is_warned_of(use, settings):
    assert check_cookie_domains() == []
    settings.SESSION_COOKIE_DOMAIN = ".site.example"
    assert [warning.id for warning in check_cookie_domains()] == ["do_bridge.W021"]
    use(DOMAIN_MODEL=None)
    assert check_cookie_domains() == []
