"""D1's admin and a tenant's, used by staff who are nobody's member."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.admin import AdminSite, TabularInline
from django.contrib.admin.filters import (
    AllValuesFieldListFilter,
    RelatedFieldListFilter,
    RelatedOnlyFieldListFilter,
)
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.urls import path as url_path
from django.urls import reverse

from accounts.models import Membership, Tenant, User
from blog.admin import PostAdmin
from blog.models import Post
from do_bridge.admin import TenantInlineMixin, tenant_site
from do_bridge.inspection.inspected import Inspected
from do_bridge.members.copies import write_copies
from do_bridge.tenancy import tenant_context
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import unique_slug
from tests.tenancy.lost_rows import lose_row
from tests.tenancy.moves import clear, places_with_tables

POSTS = "/t/acme/admin/blog/post/"
DATES = {"published_at_0": "2026-05-06", "published_at_1": "10:00:00"}


def text(response):
    return response.content.decode()


@pytest.fixture
def root(sign_in):
    return sign_in("root")


@pytest.fixture
def post_fields(site):
    return {"title": "From the admin", "content": "x", "user": site.bo.pk, **DATES}


@pytest.mark.parametrize(
    "path",
    ["", "accounts/user/", "accounts/tenant/", "accounts/membership/", "auth/group/", "admin/logentry/"],
)
def test_each_page_of_d1s_admin_says_that_it_shows_d1(root, path):
    page = text(root.get(f"/admin/{path}"))
    assert '<span id="site-name">D1, the shared database</span>' in page
    assert re.search(r"<title>.*D1, the shared database\s*</title>", page, re.DOTALL)


@pytest.mark.parametrize("path", ["", "blog/post/", "blog/post/add/", "accounts/user/", "admin/logentry/"])
def test_each_page_of_a_tenants_admin_says_whose_it_is_and_stays_inside(root, path):
    page = text(root.get(f"/t/acme/admin/{path}"))
    assert '<span id="site-name">Tenant acme</span>' in page
    links = set(re.findall(r'(?:href|action)="(/[^"]*)"', page))
    outside = {link for link in links if not link.startswith(("/t/acme/", "/static/"))}
    assert outside == set()


def test_the_switcher_offers_the_tenants_and_leads_to_their_admins(root):
    page = text(root.get("/t/acme/admin/switch/"))
    assert 'href="/t/globex/admin/"' in page
    assert 'href="/admin/"' in page
    assert root.get("/t/acme/admin/switch/?tenant=globex").headers["Location"] == "/t/globex/admin/"
    assert root.get("/admin/switch/?tenant=acme").headers["Location"] == "/t/acme/admin/"
    assert root.get("/t/acme/admin/switch/?tenant=").headers["Location"] == "/admin/"
    assert root.get("/admin/switch/?tenant=//elsewhere.example").status_code == 404


@pytest.mark.parametrize("page", ["", "accounts/user/", "login/"])
def test_djangos_own_admin_site_looks_as_ever_in_a_project_that_copied_the_package(page, root, settings):
    stock = AdminSite()
    stock.register(User)
    settings.ROOT_URLCONF = (url_path("admin/", stock.urls),)
    client = Client() if page == "login/" else root
    shown = client.get(f"/admin/{page}")
    assert shown.status_code == 200
    assert "Database:" not in text(shown)
    assert ("Recent actions" in text(shown)) == (page == "")


def test_who_is_not_staff_is_asked_to_sign_in_inside_the_tenant(sign_in):
    response = sign_in("ada").get(POSTS)
    assert response.headers["Location"] == f"/t/acme/admin/login/?next={POSTS}"


def test_staff_sign_in_at_a_tenants_admin_with_their_d1_password(site):
    client = Client()
    fields = {"username": "root", "password": "a-pass-word", "next": POSTS}
    assert client.post("/t/acme/admin/login/", fields).headers["Location"] == POSTS
    assert client.get(POSTS).status_code == 200


def test_a_post_is_added_in_the_tenants_object_alone(site, root, post_fields):
    assert root.post(f"{POSTS}add/", post_fields).status_code == 302
    assert Post.objects.using("tenant/acme").get().user_id == site.bo.pk
    assert not Post.objects.using("tenant/globex").exists()
    assert not Post.objects.using("default").exists()


def test_an_author_can_only_be_a_member_of_this_tenant(site, root, post_fields):
    page = text(root.post(f"{POSTS}add/", {**post_fields, "user": site.gil.pk}))
    assert "Select a valid choice" in page
    query = {"app_label": "blog", "model_name": "post", "field_name": "user", "term": ""}
    found = root.get("/t/acme/admin/autocomplete/", query).json()["results"]
    assert {row["text"] for row in found} == {"Ada", "Bo"}


def test_a_post_is_changed_and_deleted(root, write_post, post_fields):
    pk = write_post()
    root.post(f"{POSTS}{pk}/change/", {**post_fields, "title": "Changed"})
    assert Post.objects.using("tenant/acme").get(pk=pk).title == "Changed"
    assert "Are you sure" in text(root.get(f"{POSTS}{pk}/delete/"))
    root.post(f"{POSTS}{pk}/delete/", {"post": "yes"})
    assert not Post.objects.using("tenant/acme").exists()


def test_selected_posts_are_deleted_together(root, write_post):
    keys = [write_post(title=f"Post {number}") for number in range(3)]
    fields = {"action": "delete_selected", "_selected_action": keys[:2], "post": "yes"}
    root.post(POSTS, fields)
    assert list(Post.objects.using("tenant/acme").values_list("pk", flat=True)) == keys[2:]
    assert LogEntry.objects.using("tenant/acme").count() == 2


def test_posts_are_searched_filtered_and_browsed_by_date(root, write_post):
    write_post(title="Old", published_at=datetime(2024, 2, 29, 12, tzinfo=UTC))
    write_post(title="New", content="a needle in it", published_at=datetime(2026, 3, 1, 12, tzinfo=UTC))

    def titles(**query):
        return [post.title for post in root.get(POSTS, query).context["cl"].result_list]

    assert titles() == ["New", "Old"]
    assert titles(q="needle") == ["New"]
    assert titles(q="Ada") == ["New", "Old"]
    assert titles(published_at__year=2024) == ["Old"]
    assert titles(published_at__year=2024, published_at__month=2, published_at__day=29) == ["Old"]
    assert "?published_at__year=2024" in text(root.get(POSTS))


def test_the_history_of_a_post_shows_its_tenants_log_alone(root, site, post_fields):
    fields = {"acme": post_fields, "globex": {**post_fields, "user": site.gil.pk}}
    keys = set()
    for slug, values in fields.items():
        root.post(f"/t/{slug}/admin/blog/post/add/", values)
        post = Post.objects.using(f"tenant/{slug}").get()
        keys.add(post.pk)
    pk = Post.objects.using("tenant/globex").get().pk
    changed = {**fields["globex"], "title": "Changed in globex"}
    root.post(f"/t/globex/admin/blog/post/{pk}/change/", changed)
    assert "Changed Title" in text(root.get(f"/t/globex/admin/blog/post/{pk}/history/"))
    own = Post.objects.using("tenant/acme").get().pk
    page = text(root.get(f"{POSTS}{own}/history/"))
    assert "Added" in page
    assert "Changed" not in page
    assert not LogEntry.objects.using("default").exists()


def test_acting_in_a_tenant_copies_the_staff_user_for_its_log(site, root, post_fields):
    assert not User.objects.using("tenant/acme").filter(pk=site.root.pk).exists()
    root.post(f"{POSTS}add/", post_fields)
    copy = User.objects.using("tenant/acme").get(pk=site.root.pk)
    assert (copy.username, copy.is_superuser, copy.is_active) == ("root", False, False)
    entry = LogEntry.objects.using("tenant/acme").get()
    assert entry.user_id == site.root.pk
    assert "From the admin" in text(root.get("/t/acme/admin/"))
    assert "None yet." in text(root.get("/admin/"))


def test_staff_without_the_right_to_change_posts_see_none(site, sign_in):
    User.objects.filter(pk=site.gil.pk).update(is_staff=True)
    assert sign_in("gil").get(POSTS).status_code == 403


def test_members_copies_can_be_read_and_not_changed(site, root):
    change = f"/t/acme/admin/accounts/user/{site.bo.pk}/change/"
    assert root.get(change).status_code == 200
    assert root.post(change, {"name": "Other"}).status_code == 403
    assert root.get("/t/acme/admin/accounts/user/add/").status_code == 403


def test_a_membership_made_in_d1s_admin_reaches_the_tenants_object(site, root):
    fields = {"user": site.gil.pk, "tenant": site.tenants["acme"].pk, "role": "member"}
    assert root.post("/admin/accounts/membership/add/", fields).status_code == 302
    assert User.objects.using("tenant/acme").filter(pk=site.gil.pk, is_active=True).exists()
    pk = Membership.objects.get(user=site.gil, tenant=site.tenants["acme"]).pk
    root.post(f"/admin/accounts/membership/{pk}/delete/", {"post": "yes"})
    assert User.objects.using("tenant/acme").get(pk=site.gil.pk).is_active is False


def test_a_copy_that_fails_is_told_by_a_message_and_not_by_an_error_page(site, root, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    unready = Tenant.objects.create(slug="no-tables", name="No tables")
    fields = {"user": site.gil.pk, "tenant": unready.pk, "role": "member"}
    page = text(root.post("/admin/accounts/membership/add/", fields, follow=True))
    assert "manage.py sync_members no-tables" in page
    assert Membership.objects.filter(user=site.gil, tenant=unready).exists()


def test_a_password_changed_while_a_copy_fails_is_told_by_a_message(site, root, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    unready = Tenant.objects.create(slug="no-tables", name="No tables")
    Membership.objects.bulk_create([Membership(user=site.gil, tenant=unready, role="member")])
    fields = {"usable_password": "true", "password1": "another-word-1", "password2": "another-word-1"}
    page = text(root.post(f"/admin/accounts/user/{site.gil.pk}/password/", fields, follow=True))
    assert "manage.py sync_members no-tables" in page
    assert User.objects.get(pk=site.gil.pk).check_password("another-word-1")


def test_a_tenant_made_in_d1s_admin_is_ready_for_use(root, client):
    none = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    root.post("/admin/accounts/tenant/add/", {"slug": "fresh", "name": "Fresh", **none})
    assert client.get("/t/fresh/").status_code == 200
    page = text(root.post("/admin/accounts/tenant/add/", {"slug": "Not/Valid", "name": "x", **none}))
    assert "Use 1 to 63 of a-z" in page


NO_MEMBERS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}


def test_a_tenant_made_in_d1s_admin_is_not_given_a_deleted_ones_data(site, root, write_post):
    write_post("acme")
    lose_row("acme")
    page = text(root.post("/admin/accounts/tenant/add/", {"slug": "acme", "name": "Other", **NO_MEMBERS}))
    assert "its database has tables already" in page
    assert not Tenant.objects.filter(slug="acme").exists()


def test_a_tenant_whose_database_was_not_made_ready_is_told_by_a_message(root, client, monkeypatch):
    def fail(slug):
        raise OperationalError("as if the object were out of reach")

    monkeypatch.setattr("accounts.admin.provision_noted", fail)
    fields = {"slug": "halfway", "name": "Halfway", **NO_MEMBERS}
    page = text(root.post("/admin/accounts/tenant/add/", fields, follow=True))
    assert "manage.py create_tenant halfway" in page
    monkeypatch.undo()
    call_command("create_tenant", "halfway", verbosity=0)
    assert client.get("/t/halfway/").status_code == 200


@pytest.mark.parametrize("path", ["user", "user__name"])
def test_filters_offer_the_tenants_people_alone(root, write_post, monkeypatch, path):
    write_post()
    monkeypatch.setattr(PostAdmin, "list_filter", [path])
    listing = root.get(POSTS).context["cl"]
    links = {choice["display"]: choice["query_string"] for choice in listing.filter_specs[0].choices(listing)}
    assert set(links) == {"All", "Ada", "Bo"}
    assert len(root.get(POSTS + links["Ada"]).context["cl"].result_list) == 1
    assert len(root.get(POSTS + links["Bo"]).context["cl"].result_list) == 0


class OnlyAuthors(RelatedOnlyFieldListFilter):
    """As projects write their own."""

    title = "Author"


class Names(AllValuesFieldListFilter):
    """As projects write their own."""


@pytest.mark.parametrize(
    ("item", "people"),
    [
        (("user", RelatedFieldListFilter), {"Ada", "Bo", "Root"}),
        (("user", RelatedOnlyFieldListFilter), {"Ada", "Bo"}),
        (["user", OnlyAuthors], {"Ada", "Bo"}),
        (("user__name", AllValuesFieldListFilter), {"Ada", "Bo", "Root"}),
        (("user__name", Names), {"Ada", "Bo", "Root"}),
    ],
)
def test_filters_named_with_their_class_offer_the_tenants_people_alone(
    site, root, write_post, monkeypatch, item, people
):
    write_post()
    write_post("acme", "bo")
    write_post("globex", "gil")
    write_copies([site.root], "tenant/acme", are_members=False)
    monkeypatch.setattr(PostAdmin, "list_filter", [item])
    response = root.get(POSTS)
    assert response.status_code == 200
    listing = response.context["cl"]
    links = {choice["display"]: choice["query_string"] for choice in listing.filter_specs[0].choices(listing)}
    assert set(links) == {"All", *people}
    assert len(root.get(POSTS + links["Ada"]).context["cl"].result_list) == 1


def test_inlines_offer_the_tenants_rows_alone(site, rf):
    class PostInline(TenantInlineMixin, TabularInline):
        model = Post

    request = rf.get("/")
    request.user = site.root
    with tenant_context("acme"):
        inline = PostInline(User, tenant_site)
        field = inline.formfield_for_foreignkey(Post._meta.get_field("user"), request)
        assert {user.username for user in field.queryset} == {"ada", "bo"}
        assert inline.get_queryset(request).db == "tenant/acme"
        form = inline.get_formset(request).form()
        assert form.instance._state.db == "tenant/acme"


def test_users_are_found_and_created_in_d1s_admin(site, root):
    found = root.get("/admin/accounts/user/", {"q": "bo"}).context["cl"].result_list
    assert [user.username for user in found] == ["bo"]
    none = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    fields = {"username": "eve", "usable_password": "false", **none}
    assert root.post("/admin/accounts/user/add/", fields).status_code == 302
    assert not User.objects.get(username="eve").has_usable_password()


def test_a_user_who_is_deleted_in_d1s_admin_is_gone_from_d1(site, root):
    page = text(root.get(f"/admin/accounts/user/{site.bo.pk}/delete/"))
    assert "Are you sure" in page
    root.post(f"/admin/accounts/user/{site.bo.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(username="bo").exists()
    assert User.objects.using("tenant/acme").get(pk=site.bo.pk).is_active is False


def test_a_list_of_posts_takes_at_most_eight_trips(root, write_post, count_trips):
    for number in range(30):
        write_post(title=f"Post {number}")
    root.get(POSTS)
    lookup.forget()
    with count_trips() as trips:
        assert "Post 29" in text(root.get(POSTS))
    assert 1 <= trips.count <= 8
    with count_trips() as trips:
        root.get(POSTS)
    assert 1 <= trips.count <= 6  # the tenant and the switcher's list are remembered


def test_staff_change_their_d1_password_from_inside_a_tenant(site, root):
    new = "another-pass-word"
    fields = {"old_password": "a-pass-word", "new_password1": new, "new_password2": new}
    assert root.post("/t/acme/admin/password_change/", fields).status_code == 302
    assert User.objects.get(pk=site.root.pk).check_password(new)


def test_the_place_of_a_tenant_is_chosen_once_and_shown(root):
    slug = unique_slug("placed")
    url = reverse("admin:accounts_tenant_add")
    page = text(root.get(url))
    assert 'name="jurisdiction"' in page
    assert "European Union" in page
    values = {"slug": slug, "name": "Placed", "jurisdiction": "eu", "location": "weur"}
    forms = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    assert root.post(url, values | forms).status_code == 302
    tenant = Tenant.objects.get(slug=slug)
    assert places_with_tables(slug) == ["eu"]
    change = root.get(reverse("admin:accounts_tenant_change", args=[tenant.pk])).content.decode()
    assert 'name="jurisdiction"' not in change
    assert "eu (weur)" in change
    assert "eu (weur)" in root.get(reverse("admin:accounts_tenant_changelist")).content.decode()
    assert "eu (weur)" in root.get(reverse("admin:tenant_home", args=[Inspected(slug)])).content.decode()
    assert "in eu (weur)" in root.get(reverse("admin:databases"), {"q": slug}).content.decode()
    call_command("tenant_delete", slug, "--yes", verbosity=0)
    clear(slug)
