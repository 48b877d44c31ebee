"""Bearer tokens: made once, hashed, revoked; no CSRF with one, none without; errors are JSON throughout."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from accounts import tokens
from accounts.models import ApiToken, User

URL = "/t/acme/api/users"
JSON = "application/json"


@pytest.fixture
def program(site):
    """A client without cookies, and with CSRF checks; returns a function that calls with a token."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def call(method, url=URL, token=None, body=None, **headers):
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return client.generic(
            method, url, json.dumps(body) if body else "", content_type=JSON, headers=headers
        )

    yield call
    ApiToken.objects.all().delete()


def test_a_program_lists_and_creates_users_with_a_token_alone(program, site):
    _, token = tokens.create(site.root, "tests")
    assert program("GET", token=token).json()["tenant"] == "acme"
    made = program("POST", token=token, body={"username": "dee"})
    assert (made.status_code, made.json()["object"]["username"]) == (201, "dee")


def test_d1_holds_no_token(program, site):
    row, token = tokens.create(site.root, "tests")
    stored = json.dumps(list(ApiToken.objects.values()), default=str)
    assert token not in stored
    assert row.beginning == token[:8]


def test_a_token_has_the_rights_of_its_user(program, site):
    _, token = tokens.create(site.bo, "tests")
    assert [row["username"] for row in program("GET", token=token).json()["d1"]] == ["ada", "bo"]
    assert program("POST", token=token, body={"username": "dee"}).status_code == 403
    assert program("GET", url="/t/globex/api/users", token=token).status_code == 403
    assert not User.objects.filter(username="dee").exists()


def test_revoked_wrong_and_inactive_tokens_open_nothing(program, site):
    row, token = tokens.create(site.root, "tests")
    for wrong in ("", "x", token[:-1], token + "x", "dob_ä", "x" * 10_000):
        answer = program("GET", token=wrong)
        assert answer.status_code == 401, wrong
        assert "error" in answer.json()
    tokens.revoke(ApiToken.objects.filter(pk=row.pk))
    assert program("GET", token=token).status_code == 401
    _, other = tokens.create(site.root, "tests")
    User.objects.filter(pk=site.root.pk).update(is_active=False)
    assert program("GET", token=other).status_code == 401


def test_a_wrong_token_is_not_made_good_by_a_session(site):
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.root)
    assert client.get(URL, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(URL, headers={"Authorization": "Basic cm9vdDp4"}).status_code == 401
    refused = client.post(URL, "{}", content_type=JSON)
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]


@pytest.mark.parametrize(
    "url", ["/api/nothing", "/t/acme/api/nothing", "/t/nobody/api/users", "/api/migrate"]
)
def test_an_address_that_does_not_exist_answers_404_in_json(program, site, url):
    answer = program("GET", url=url)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_every_refusal_is_json(program, site, monkeypatch):
    _, token = tokens.create(site.root, "tests")
    wrong_method = program("DELETE", token=token)
    assert (wrong_method.status_code, wrong_method.headers["Allow"]) == (405, "GET, POST")
    monkeypatch.setattr("accounts.api.list_users", lambda *args: 1 / 0)
    answers = [
        wrong_method,
        program("POST", token=token, body={"username": 5}),
        program("GET", token=token, Host="evil.example"),
        program("GET", url=f"{URL}?after=x", token=token),
        program("GET", token=token),
        program("GET"),
    ]
    assert [answer.status_code for answer in answers] == [405, 400, 400, 400, 500, 401]
    for answer in answers:
        assert answer.headers["Content-Type"] == JSON
        assert answer.json()["error"]


def test_a_database_that_does_not_answer_or_is_not_ready_is_json(program, site, monkeypatch):
    from do_bridge.tenancy.tenants import lookup

    _, token = tokens.create(site.root, "tests")
    with monkeypatch.context() as patched:
        patched.setitem(connections["tenant/acme"].settings_dict, "HOST", "http://127.0.0.1:9")
        connections["tenant/acme"].close()
        answer = program("GET", token=token)
    connections["tenant/acme"].close()
    assert (answer.status_code, "error" in answer.json()) == (503, True)
    from do_bridge.tenancy.schema.errors import SchemaMismatch

    def not_ready(slug):
        raise SchemaMismatch("as if it were being loaded")

    monkeypatch.setattr(lookup, "get", not_ready)
    answer = program("GET", token=token)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "error" in answer.json()


def test_the_command_makes_lists_and_revokes_tokens(program, site):
    out, told = StringIO(), StringIO()
    call_command("api_token", "create", "root", name="nightly", stdout=out, stderr=told)
    token = out.getvalue().strip()
    assert token not in told.getvalue()
    assert program("GET", token=token).status_code == 200
    listed = StringIO()
    call_command("api_token", "list", stdout=listed)
    assert "root  valid  nightly" in listed.getvalue()
    assert token not in listed.getvalue()
    call_command("api_token", "revoke", str(ApiToken.objects.get().pk), stdout=StringIO())
    assert program("GET", token=token).status_code == 401
    with pytest.raises(CommandError, match="User 'nobody' does not exist"):
        call_command("api_token", "create", "nobody")
    with pytest.raises(CommandError, match="Token 999999 does not exist"):
        call_command("api_token", "revoke", "999999")


def test_the_admin_shows_a_new_token_once_and_revokes(program, site, sign_in):
    root = sign_in("root")
    page = root.post("/admin/accounts/apitoken/add/", {"name": "nightly", "user": site.root.pk}, follow=True)
    row = ApiToken.objects.get()
    token = page.content.decode().partition("The token is ")[2].split()[0]
    assert tokens.digest(token) == row.digest
    assert token not in root.get("/admin/accounts/apitoken/").content.decode()
    assert row.digest not in root.get(f"/admin/accounts/apitoken/{row.pk}/change/").content.decode()
    root.post("/admin/accounts/apitoken/", {"action": "revoke", "_selected_action": row.pk})
    assert program("GET", token=token).status_code == 401


def test_staff_make_tokens_of_their_own_alone(program, site, sign_in):
    from django.contrib.auth.models import Permission

    User.objects.filter(pk=site.bo.pk).update(is_staff=True)
    site.bo.user_permissions.add(Permission.objects.get(codename="add_apitoken"))
    sign_in("bo").post("/admin/accounts/apitoken/add/", {"name": "mine", "user": site.root.pk})
    assert ApiToken.objects.get().user_id == site.bo.pk
