"""The pages of the directory and of a tenant, as visitors, members and others see them."""

import asyncio
from datetime import UTC, datetime

import pytest
from django.conf import settings as site_settings
from django.db import connections
from django.template.loader import render_to_string
from django.test import AsyncClient, Client

from accounts.models import Membership
from blog.models import Post
from do_bridge.members.syncing import remove_member
from do_bridge.tenancy.tenants import lookup


def text(response):
    return response.content.decode()


def test_the_first_page_lists_the_tenants_and_finds_one_by_its_name(site, client):
    assert 'href="/t/acme/"' in text(client.get("/"))
    found = text(client.get("/?q=glob"))
    assert 'href="/t/globex/"' in found
    assert 'href="/t/acme/"' not in found


def test_a_tenants_page_says_whose_it_is_and_shows_that_tenants_posts_alone(site, client, write_post):
    write_post("acme", title="Only in acme")
    write_post("globex", author="gil", title="Only in globex")
    page = text(client.get("/t/acme/"))
    assert "Tenant: <strong>acme</strong>" in page
    assert "Only in acme" in page
    assert "Only in globex" not in page


def test_posts_come_newest_first_ten_to_a_page_and_undated_ones_last(site, client, write_post):
    write_post(title="undated", published_at=None)
    for day in range(1, 13):
        write_post(title=f"day {day:02}", published_at=datetime(2026, 1, day, tzinfo=UTC))
    titles = [post.title for post in client.get("/t/acme/").context["posts"]]
    assert titles == [f"day {day:02}" for day in range(12, 2, -1)]
    second = client.get("/t/acme/?page=2")
    assert [post.title for post in second.context["posts"]] == ["day 02", "day 01", "undated"]
    assert second.context["older"] is None
    assert 'href="?page=1"' in text(second)


@pytest.mark.parametrize("page", ["0", "-1", "x", "3", "99999999999", "٣"])
def test_a_page_of_posts_that_does_not_exist_is_not_found(site, client, write_post, page):
    write_post()
    assert client.get("/t/acme/", {"page": page}).status_code == 404


def test_a_post_is_shown_as_text_in_paragraphs_and_never_as_html(site, client, write_post):
    pk = write_post(title="<script>t</script>", content="<b>one</b>\n\ntwo")
    page = text(client.get(f"/t/acme/posts/{pk}/"))
    assert "<p>&lt;b&gt;one&lt;/b&gt;</p>" in page
    assert "<p>two</p>" in page
    assert "<script>t" not in page


def test_a_post_of_one_tenant_is_not_found_in_another(site, client, write_post):
    pk = write_post("acme")
    assert client.get(f"/t/globex/posts/{pk}/").status_code == 404


@pytest.mark.parametrize("slug", ["nobody", "ACME", "acm\u0435", "..", "%2e%2e", "a" * 300, "acme%00"])
def test_an_unknown_or_hostile_tenant_is_not_found(site, client, slug):
    assert client.get(f"/t/{slug}/").status_code == 404


def test_writing_leads_a_visitor_to_the_tenants_own_sign_in_and_back(site, client):
    response = client.get("/t/acme/posts/new/")
    assert response.headers["Location"] == "/t/acme/accounts/login/?next=/t/acme/posts/new/"
    answer = client.post(response.headers["Location"], {"username": "bo", "password": "a-pass-word"})
    assert answer.headers["Location"] == "/t/acme/posts/new/"


def test_signing_in_with_a_wrong_password_says_so(site, client):
    page = text(client.post("/accounts/login/", {"username": "bo", "password": "wrong"}))
    assert "Please enter a correct username and password" in page


def test_the_page_for_signing_in_does_not_lead_back_to_itself(site, client):
    assert "?next=" not in text(client.get("/t/acme/accounts/login/"))
    assert 'href="/t/acme/accounts/login/?next=/t/acme/nothing/"' in text(client.get("/t/acme/nothing/"))


@pytest.mark.parametrize(
    "target", ["//elsewhere.example/", "https://elsewhere.example", "/\\elsewhere.example"]
)
def test_signing_in_never_leads_to_another_site(site, client, target):
    path = "/t/acme/accounts/login/"
    answer = client.post(path, {"username": "bo", "password": "a-pass-word", "next": target})
    assert answer.headers["Location"] == "/t/acme/"


def test_a_message_waits_for_the_tenant_that_it_speaks_of(sign_in):
    client = sign_in("bo")
    client.post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
    assert "The post was published." not in text(client.get("/t/globex/"))
    assert "The post was published." in text(client.get("/t/acme/"))
    assert "The post was published." not in text(client.get("/t/acme/"))


def test_signing_out_ends_the_session_everywhere(sign_in):
    client = sign_in("bo")
    assert client.post("/t/acme/accounts/logout/").headers["Location"] == "/t/acme/"
    assert client.get("/t/acme/posts/new/").status_code == 302


def test_a_member_writes_a_post_that_stands_in_their_tenant_alone(site, sign_in):
    response = sign_in("bo").post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
    post = Post.objects.using("tenant/acme").get()
    assert response.headers["Location"] == f"/t/acme/posts/{post.pk}/"
    assert (post.title, post.content, post.user_id) == ("Hello", "World", site.bo.pk)
    assert post.user._state.db == "tenant/acme"
    assert not Post.objects.using("tenant/globex").exists()
    assert not Post.objects.using("default").exists()


def test_a_member_whose_copy_is_still_to_come_writes_all_the_same(site, sign_in):
    client = sign_in("gil")
    client.get("/t/acme/")  # from now on this process knows the tenant, and looks for no marks
    Membership.objects.bulk_create([Membership(user=site.gil, tenant=site.tenants["acme"])])
    assert client.post("/t/acme/posts/new/", {"title": "Hello", "content": "World"}).status_code == 302
    assert Post.objects.using("tenant/acme").get().user.name == "Gil"


def test_a_post_without_a_title_is_asked_for_one_and_not_saved(site, sign_in):
    response = sign_in("bo").post("/t/acme/posts/new/", {"title": "", "content": "World"})
    assert "This field is required." in text(response)
    assert not Post.objects.using("tenant/acme").exists()


@pytest.mark.parametrize("name", ["gil", "root"])
def test_who_is_no_member_may_not_write(site, sign_in, name):
    response = sign_in(name).post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
    assert response.status_code == 403
    assert "Only members of this tenant can write posts." in text(response)
    assert not Post.objects.using("tenant/acme").exists()


def test_a_member_edits_their_own_post_and_nobody_elses(site, sign_in, write_post):
    own, other = write_post(author="bo"), write_post(author="ada")
    client = sign_in("bo")
    client.post(f"/t/acme/posts/{own}/edit/", {"title": "New", "content": "New"})
    assert Post.objects.using("tenant/acme").get(pk=own).title == "New"
    assert client.post(f"/t/acme/posts/{other}/edit/", {"title": "New", "content": "New"}).status_code == 403
    assert Post.objects.using("tenant/acme").get(pk=other).title == "A title"


def test_who_was_a_member_or_is_no_longer_active_may_not_write(site, sign_in):
    clients = {name: sign_in(name) for name in ("bo", "ada")}
    remove_member(site.bo, site.tenants["acme"])
    site.ada.is_active = False
    site.ada.save()
    answers = {
        name: client.post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
        for name, client in clients.items()
    }
    assert answers["bo"].status_code == 403
    assert answers["ada"].headers["Location"].startswith("/t/acme/accounts/login/")
    assert [client.get("/t/acme/api/users").status_code for client in clients.values()] == [403, 401]
    assert not Post.objects.using("tenant/acme").exists()


def test_an_owner_edits_everybodys_posts(site, sign_in, write_post):
    pk = write_post(author="bo")
    sign_in("ada").post(f"/t/acme/posts/{pk}/edit/", {"title": "By the owner", "content": "x"})
    post = Post.objects.using("tenant/acme").get(pk=pk)
    assert (post.title, post.user_id) == ("By the owner", site.bo.pk)


def test_a_visitors_page_of_posts_takes_at_most_three_trips(site, client, write_post, count_trips):
    for _ in range(12):
        write_post()
    client.get("/t/acme/")
    lookup.forget()
    with count_trips() as trips:
        assert client.get("/t/acme/").status_code == 200
    assert 1 <= trips.count <= 3


def test_a_members_page_of_posts_takes_at_most_five_trips(site, sign_in, write_post, count_trips):
    write_post()
    client = sign_in("bo")
    client.get("/t/acme/")
    lookup.forget()
    with count_trips() as trips:
        assert "Write a post" in text(client.get("/t/acme/"))
    assert 1 <= trips.count <= 5


def test_the_error_pages_are_pages_of_the_site(site, client):
    assert "belong to another tenant" in text(client.get("/t/acme/nothing/"))
    assert "belong to another tenant" in text(client.get("/t/nobody/"))
    assert "The site failed" in render_to_string("500.html")


@pytest.fixture
def out_of_reach():
    """Makes a database's relay one that nobody listens to, on this thread; undone after the test."""
    changed = []

    def cut(alias):
        connection = connections[alias]
        connection.close()
        changed.append((connection, connection.settings_dict["HOST"]))
        connection.settings_dict["HOST"] = "http://127.0.0.1:9"

    yield cut
    for connection, host in changed:
        connection.close()
        connection.settings_dict["HOST"] = host


@pytest.mark.parametrize("alias", ["tenant/acme", "default"])
def test_a_database_out_of_reach_is_told_without_a_secret(site, sign_in, out_of_reach, caplog, alias):
    client = sign_in("bo")
    client.raise_request_exception = False
    lookup.forget()
    out_of_reach(alias)
    page, answer = client.get("/t/acme/"), client.get("/t/acme/api/users")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "<h1>Temporarily unavailable</h1>" in text(page)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("A database cannot be used.")
    assert "could not be reached" in caplog.text
    assert site_settings.RELAY_TOKEN not in caplog.text + text(page)


def test_a_fault_of_the_code_is_a_page_and_no_503(site, sign_in, monkeypatch):
    monkeypatch.setattr("blog.views.page_number", lambda request: 1 / 0)
    client = sign_in("bo")
    client.raise_request_exception = False
    response = client.get("/t/acme/")
    assert response.status_code == 500
    assert "The site failed" in text(response)


def test_a_form_from_elsewhere_is_refused_with_a_page_that_says_so(site):
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.bo)
    response = client.post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
    assert response.status_code == 403
    assert "Please send it again" in text(response)


def test_the_pages_styles_are_served_without_collectstatic(site, client):
    response = client.get("/static/project/site.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/css")
    response.close()


def test_a_tenants_own_subdomain_serves_it_and_leads_back_to_the_directory(site, client, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"}
    page = text(client.get("/", headers={"host": "acme.example.test"}))
    assert "Tenant: <strong>acme</strong>" in page
    assert 'href="http://example.test/"' in page
    assert 'href="/accounts/login/?next=/"' in page
    assert client.get("/", headers={"host": "nobody.example.test"}).status_code == 404


def test_requests_for_two_tenants_at_once_are_served_apart_under_asgi_too(site, write_post):
    write_post("acme", title="Of acme")
    write_post("globex", "gil", title="Of globex")

    async def one(slug):
        response = await AsyncClient().get(f"/t/{slug}/")
        return slug, text(response)

    async def both():
        return await asyncio.gather(*(one(slug) for _ in range(5) for slug in ("acme", "globex")))

    for slug, page in asyncio.run(both()):
        assert f"Tenant: <strong>{slug}</strong>" in page
        assert [f"Of {name}" in page for name in ("acme", "globex")] == [slug == "acme", slug == "globex"]
        assert f'href="/t/{slug}/posts/' in page
