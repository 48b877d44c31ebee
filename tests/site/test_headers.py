"""What the site's answers tell a browser to refuse, and whose session, message or page nobody can ask for."""

import os
import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group
from django.contrib.messages import get_messages
from django.test import Client

from blog.models import Post
from tests import forking

PAGES = [
    "/",
    "/t/acme/",
    "/t/acme/posts/new/",
    "/t/acme/nothing/",
    "/t/nobody/",
    "/accounts/login/",
    "/admin/",
    "/admin/accounts/user/",
    "/admin/accounts/user/add/",
    "/admin/accounts/membership/add/",
    "/admin/databases/",
    "/admin/password_change/",
    "/t/acme/admin/",
    "/t/acme/admin/blog/post/",
    "/t/acme/admin/blog/post/add/",
    "/t/acme/admin/blog/post/add/?_popup=1",
]


class Inline(HTMLParser):
    """Collects what a policy without 'unsafe-inline' would not let run or apply."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        is_data = values.get("type") == "application/json"
        if (tag == "script" and "src" not in values and not is_data) or tag == "style":
            self.found.append(tag)
        self.found += [name for name in values if name == "style" or name.startswith("on")]
        links = [values.get(name) or "" for name in ("href", "action", "src", "formaction")]
        self.found += [link for link in links if link.lower().startswith("javascript:")]


def test_each_page_has_every_header_and_nothing_inline(sign_in):
    client = sign_in("root")
    for path in PAGES:
        response = client.get(path)
        assert response.status_code in (200, 403, 404), path
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in response.headers["Permissions-Policy"]
        parser = Inline()
        parser.feed(response.content.decode())
        assert parser.found == [], path


def test_static_files_have_the_headers_too(site, client):
    response = client.get("/static/project/site.css")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    response.close()


def test_the_page_of_a_failure_has_the_policy(site, sign_in, monkeypatch):
    monkeypatch.setattr("blog.views.page_number", lambda request: 1 / 0)
    client = sign_in("bo")
    client.raise_request_exception = False
    response = client.get("/t/acme/")
    assert response.status_code == 500
    assert "Content-Security-Policy" in response.headers
    assert "<style" not in response.content.decode()


def cookies_with(**environment):
    """The names and domains of the cookies, as a process with this environment sets them."""
    code = (
        "from django.conf import settings as s;"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_DOMAIN, s.CSP_FORM_TARGETS)"
    )
    done = forking.run(["-c", code], env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_cookies_are_bound_to_https_and_to_the_host_that_set_them():
    assert cookies_with(SECURE="True") == "__Host-sessionid __Host-csrftoken None []"
    assert cookies_with(SECURE="True", TENANT_DOMAIN="blog.example") == (
        "__Secure-sessionid __Secure-csrftoken .blog.example ['blog.example', '*.blog.example']"
    )
    assert cookies_with(SECURE="False") == "sessionid csrftoken None []"


def test_a_sessions_cookie_is_hidden_from_scripts_and_from_other_sites(site):
    client = Client()
    client.post("/accounts/login/", {"username": "bo", "password": "a-pass-word"})
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.fixture
def subdomains(settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "TENANT_DOMAIN": "example.test"}


@pytest.fixture
def secrets(write_post):
    """One post in each tenant, by whose title its page is known."""
    write_post("acme", title="Written in acme")
    write_post("globex", author="gil", title="Written in globex")


HOSTS = [
    ("acme.example.test", 200),
    ("ACME.Example.TEST", 200),
    ("acme.example.test.", 200),
    ("globex.acme.example.test", 404),
    ("acme..example.test", 404),
    ("acm\u0435.example.test", 400),
    ("acme.example.test@globex.example.test", 400),
    ("acme.example.test/globex", 400),
    ("acme.elsewhere.test", 400),
    ("globex.example.test.elsewhere.test", 400),
]
NO_TENANTS_PATHS = [
    "/t/../t/globex/",
    "/t/acme/../globex/",
    "/t/acme/%2e%2e/globex/",
    "/t/acme%2f..%2fglobex/",
    "/t/acme/t/globex/",
    "/t//globex/",
    "/t/globex;x=acme/",
    "/t/ｇlobex/",
    "/t/GLOBEX/",
    "/t/globex./",
    "/t/globex%20/",
    "/t/globex%0a/",
    "/T/globex/",
    "//t/globex/",
    "/t/acme%5cglobex/",
    "/./t/globex/",
]


def test_a_host_names_one_tenant_or_none(subdomains, secrets, client):
    for host, status in HOSTS:
        response = client.get("/", headers={"host": host, "x-forwarded-host": "globex.example.test"})
        assert response.status_code == status, host
        assert ("Written in acme" in response.content.decode()) == (status == 200)
        assert "Written in globex" not in response.content.decode()


def test_a_path_that_only_looks_like_a_tenants_shows_no_tenant(secrets, client):
    for path in NO_TENANTS_PATHS:
        response = client.get(path)
        assert response.status_code in (301, 404), path
        assert "Written in" not in response.content.decode()


def test_a_tenants_subdomain_serves_no_other_tenant_by_path(subdomains, secrets, client):
    response = client.get("/t/globex/", headers={"host": "acme.example.test"})
    assert response.status_code == 404
    assert "Written in globex" not in response.content.decode()


@pytest.mark.parametrize("where", [("/t/globex", {}), ("", {"host": "globex.example.test"})])
def test_a_session_of_one_tenants_member_opens_nothing_in_another(subdomains, site, sign_in, where):
    prefix, headers = where
    client = sign_in("bo")
    answer = client.post(f"{prefix}/posts/new/", {"title": "x", "content": "x"}, headers=headers)
    assert answer.status_code == 403
    assert client.get(f"{prefix}/api/users", headers=headers).status_code == 403
    assert client.get(f"{prefix}/admin/", headers=headers).status_code == 302
    assert not Post.objects.using("tenant/globex").exists()


def test_a_made_up_session_is_nobodys(site):
    for key in ("", "x", "../../etc/passwd", "'; --", "a" * 5000, "tenant/globex"):
        client = Client()
        client.cookies["sessionid"] = key
        assert client.get("/t/acme/posts/new/").status_code == 302
        assert client.get("/t/acme/api/users").status_code == 401


def test_a_new_session_begins_with_the_sign_in(site):
    client = Client()
    client.get("/accounts/login/")
    client.cookies["sessionid"] = planted = "a" * 32
    client.post("/accounts/login/", {"username": "bo", "password": "a-pass-word"})
    assert client.cookies["sessionid"].value != planted


def test_one_tenants_message_cannot_be_replayed_as_anothers(sign_in):
    client = sign_in("bo")
    client.post("/t/acme/posts/new/", {"title": "Hello", "content": "World"})
    client.cookies["messages-globex"] = "made-up"
    response = client.get("/t/globex/")
    assert [str(message) for message in get_messages(response.wsgi_request)] == []
    assert "The post was published." not in response.content.decode()


ELSEWHERE = [
    "//elsewhere.example/",
    "///elsewhere.example",
    "https:elsewhere.example",
    "https:///elsewhere.example",
    "http://testserver@elsewhere.example/",
    "javascript:alert(1)",
    "\x08//elsewhere.example",
    "/\\elsewhere.example",
    "\\\\elsewhere.example",
    "http://globex.example.test/",
]


@pytest.mark.parametrize("door", ["/accounts/login/", "/t/acme/accounts/login/", "/t/acme/admin/login/"])
def test_no_sign_in_leads_to_another_site(site, door):
    for target in ELSEWHERE:
        answer = Client().post(door, {"username": "root", "password": "a-pass-word", "next": target})
        assert answer.status_code == 302
        assert re.fullmatch(r"/(?:[\w.-]+/)*", answer.headers["Location"]), target


def test_the_admins_recent_actions_are_those_of_its_own_database(site, sign_in):
    client = sign_in("root")
    dates = {"published_at_0": "2026-05-06", "published_at_1": "10:00:00"}
    fields = {"title": "Logged in acme", "content": "x", "user": site.bo.pk, **dates}
    assert client.post("/t/acme/admin/blog/post/add/", fields).status_code == 302
    client.post("/admin/auth/group/add/", {"name": "Logged in D1"})
    indexes = ("/admin/", "/t/acme/admin/", "/t/globex/admin/")
    seen = {path: client.get(path).content.decode() for path in indexes}
    assert {path for path, page in seen.items() if "Logged in acme" in page} == {"/t/acme/admin/"}
    assert {path for path, page in seen.items() if "Logged in D1" in page} == {"/admin/"}
    Group.objects.all().delete()


def test_a_form_of_another_site_is_refused_whatever_host_it_claims(site):
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.bo)
    for headers in ({"origin": "https://elsewhere.example"}, {"referer": "https://elsewhere.example/"}, {}):
        answer = client.post("/t/acme/posts/new/", {"title": "x", "content": "x"}, headers=headers)
        assert answer.status_code == 403
    assert not Post.objects.using("tenant/acme").exists()
