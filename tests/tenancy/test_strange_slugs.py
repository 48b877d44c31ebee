"""Rows of the model for tenants whose slugs no database can have, as a plain SlugField takes them."""

from io import StringIO

import pytest
from django.contrib import admin
from django.core.management import call_command

from accounts.models import Membership, Tenant
from do_bridge.inspection.home.tenant_admin import TenantHomeMixin
from do_bridge.tenancy.tenants import registered_slugs

STRANGE = ("Straße", "My_Shop", "-a", "a-", "a" * 64, "")


@pytest.fixture
def strange(acme):
    """Rows with such slugs beside a tenant."""
    rows = [Tenant(slug=slug, name="Strange") for slug in STRANGE]
    Tenant.objects.bulk_create(rows)
    return rows


def test_they_are_not_listed_as_tenants(strange, acme):
    assert acme.slug in registered_slugs()
    assert not {*registered_slugs()} & {*STRANGE}


@pytest.mark.parametrize(
    "words",
    [
        ("migrate", "--database", "tenant"),
        ("migrate", "--database", "tenant", "--plan"),
        ("list_tenants", "--size"),
        ("sync_members",),
        ("sync_members", "--out-of-sync"),
        ("all_tenants_command", "check"),
    ],
    ids=" ".join,
)
def test_commands_for_all_tenants_work_beside_them(strange, words):
    call_command(*words, stdout=StringIO(), stderr=StringIO())


def test_a_user_who_is_linked_to_one_can_be_changed(strange, author):
    Membership.objects.create(tenant=Tenant.objects.get(slug="My_Shop"), user=author)
    author.name = "Renamed"
    author.save()


@pytest.mark.parametrize(
    "url", ["/admin/databases/", "/admin/databases/?q=shop", "/admin/accounts/tenant/", "/", "/t/My_Shop/"]
)
def test_pages_work_beside_them(strange, admin_client, url):
    assert admin_client.get(url).status_code == (404 if "My_Shop" in url else 200)


class Plain(TenantHomeMixin, admin.ModelAdmin):
    """An admin of a project whose own form takes any slug."""

    def message_user(self, request, message, *args, **kwargs):
        request.said.append(message)


def test_the_admin_says_that_such_a_row_is_not_a_tenant(strange, rf, admin_user):
    shop, request = Tenant.objects.get(slug="My_Shop"), rf.post("/admin/accounts/tenant/add/")
    request.user, request.said = admin_user, []
    plain = Plain(Tenant, admin.site)
    assert plain.response_add(request, shop).status_code == 302
    assert "This row is not a tenant" in request.said[0]
    assert plain.home(shop) == "No database can have this slug"
