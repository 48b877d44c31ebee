"""Requests that are legal and odd, or hostile: each gets a clear answer, of a kind that its client reads."""

import pytest
from django.test import Client, RequestFactory

from blog.forms import LONGEST_CONTENT
from blog.models import Post
from do_bridge.tenancy.tenants import lookup
from project.views import is_api

FORM = "multipart/form-data; boundary=B; charset={}"


def form_body(**fields):
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--B--\r\n"


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "hex", "undefined", "latin-1"])
def test_a_form_in_another_encoding_is_refused(site, sign_in, charset):
    client = sign_in("bo")
    client.raise_request_exception = False
    body = form_body(title=b"+2AA-", content=b"+2AA-", username=b"+2AA-", password=b"x")
    for path in ("/t/acme/posts/new/", "/accounts/login/"):
        assert client.generic("POST", path, body, FORM.format(charset)).status_code == 400
    assert not Post.objects.using("tenant/acme").exists()


@pytest.mark.parametrize("charset", ["utf-8", "UTF8"])
def test_a_form_that_names_utf_8_is_read(site, sign_in, charset):
    body = form_body(title="Größe".encode(), content=b"text")
    assert sign_in("bo").generic("POST", "/t/acme/posts/new/", body, FORM.format(charset)).status_code == 302
    assert Post.objects.using("tenant/acme").get().title == "Größe"


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/t/acme/api/nothing", "/t/nobody/api/users", "/api/migrate"]
)
def test_what_is_not_there_below_api_is_told_in_json(site, client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


def test_a_call_without_a_token_of_the_site_is_told_in_json(site):
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.root)
    answer = client.post("/t/acme/api/users", {"username": "dee"}, content_type="application/json")
    assert answer.status_code == 403
    assert "X-CSRFToken" in answer.json()["error"]


def test_a_malformed_call_is_told_in_json(site, sign_in):
    answer = sign_in("root").post("/t/acme/api/users", {}, content_type="application/json; charset=utf-7")
    assert answer.status_code == 400
    assert "malformed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "tenant", "expected"),
    [
        ("/api/migrate", None, True),
        ("/t/acme/api/users", None, True),
        ("/api/users", "acme", True),
        ("/t/api/", None, False),
        ("/t/api/posts/1/", None, False),
        ("/posts/1/", "api", False),
        ("/t/api/api/users", None, True),
        ("/admin/", None, False),
        ("/", "api", False),
    ],
)
def test_a_tenant_named_api_has_pages_and_an_api_like_all_others(path, tenant, expected):
    request = RequestFactory().get(path)
    request.tenant = tenant
    assert is_api(request) is expected


def test_the_pages_of_a_tenant_named_api_fail_as_pages(site, client, monkeypatch):
    def fail(slug):
        raise ZeroDivisionError

    monkeypatch.setattr(lookup, "get", fail)
    client.raise_request_exception = False
    assert client.get("/t/api/posts/1/").headers["Content-Type"].startswith("text/html")
    assert client.get("/t/acme/api/users").headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", ["bo", "root"])
def test_a_post_that_the_database_cannot_hold_is_refused_in_the_form(site, sign_in, name):
    client = sign_in(name)
    path = "/t/acme/posts/new/" if name == "bo" else "/t/acme/admin/blog/post/add/"
    fields = {"title": "Long", "user": site.bo.pk}
    page = client.post(path, fields | {"content": "😀" * (LONGEST_CONTENT + 1)})
    assert page.status_code == 200
    assert f"at most {LONGEST_CONTENT}" in page.content.decode()
    assert client.post(path, fields | {"content": "😀" * LONGEST_CONTENT}).status_code == 302
    assert len(Post.objects.using("tenant/acme").get().content) == LONGEST_CONTENT
