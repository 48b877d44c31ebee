"""The JSON endpoints: users of both sides, and migrating from outside."""

import json

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from accounts.models import Membership, Tenant, User

JSON = "application/json"


def post_user(client, slug="acme", **fields):
    return client.post(f"/t/{slug}/api/users", json.dumps(fields), content_type=JSON)


def names(rows):
    return [row["username"] for row in rows]


def test_staff_see_all_users_of_d1_beside_those_of_the_tenants_object(sign_in):
    answer = sign_in("root").get("/t/acme/api/users").json()
    assert answer["tenant"] == "acme"
    assert names(answer["d1"]) == ["ada", "bo", "gil", "root"]
    assert names(answer["object"]) == ["ada", "bo"]


def test_a_member_sees_the_tenants_users_alone(site, sign_in):
    answer = sign_in("bo").get("/t/acme/api/users").json()
    row = {"id": site.ada.pk, "username": "ada", "name": "Ada", "is_active": True}
    assert answer["d1"][0] == answer["object"][0] == row
    assert names(answer["d1"]) == names(answer["object"]) == ["ada", "bo"]


def test_strangers_see_no_users(site, client, sign_in):
    assert client.get("/t/acme/api/users").status_code == 401
    assert sign_in("gil").get("/t/acme/api/users").status_code == 403


def test_staff_without_the_right_to_view_users_see_none(site, sign_in):
    User.objects.filter(pk=site.gil.pk).update(is_staff=True)
    assert sign_in("gil").get("/t/acme/api/users").status_code == 403
    assert names(sign_in("gil").get("/t/globex/api/users").json()["d1"]) == ["gil"]


def test_a_user_is_created_in_both_and_the_answer_shows_both(sign_in):
    response = post_user(sign_in("root"), username="dee", name="Dee", password="long-enough-9")
    user = User.objects.get(username="dee")
    copy = User.objects.using("tenant/acme").get(pk=user.pk)
    row = {"id": user.pk, "username": "dee", "name": "Dee", "is_active": True}
    assert response.status_code == 201
    assert response.json() == {"tenant": "acme", "d1": row, "object": row}
    assert user.check_password("long-enough-9")
    assert not copy.check_password("long-enough-9")
    assert Membership.objects.filter(user=user, tenant__slug="acme").exists()


def test_a_failed_second_write_is_told_with_what_exists_and_how_to_repair_it(sign_in, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    Tenant.objects.create(slug="halfway", name="Its object has no tables")
    response = post_user(sign_in("root"), "halfway", username="dee")
    answer = response.json()
    assert response.status_code == 502
    assert answer["d1"]["username"] == "dee"
    assert answer["object"] is None
    assert answer["repair"] == "manage.py sync_members halfway"
    assert "could not be copied into the database of tenant halfway" in answer["error"]
    call_command("create_tenant", "halfway", verbosity=0)
    call_command("sync_members", "halfway")
    assert User.objects.using("tenant/halfway").get().username == "dee"


def test_a_membership_that_d1_fails_to_write_is_told_with_what_exists(site, sign_in, monkeypatch):
    def fail(user, tenant):
        raise OperationalError("as if D1 were lost between two statements")

    monkeypatch.setattr("accounts.api.add_member", fail)
    response = post_user(sign_in("root"), username="dee")
    answer = response.json()
    assert (response.status_code, answer["d1"]["username"], answer["object"]) == (502, "dee", None)
    assert "the membership and the copy in the tenant may be missing" in answer["error"]
    monkeypatch.undo()
    call_command(*answer["repair"].removeprefix("manage.py ").split(), verbosity=0)
    assert User.objects.using("tenant/acme").filter(username="dee", is_active=True).exists()


def test_a_name_that_is_taken_creates_nothing(sign_in):
    response = post_user(sign_in("root"), username="gil")
    assert response.status_code == 409
    assert "gil" not in names(sign_in("root").get("/t/acme/api/users").json()["object"])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "username"),
        ({"username": "no spaces"}, "username"),
        ({"username": "\ufdfa"}, "username"),  # one letter to the eye, four words once it is normalised
        ({"username": "dee", "password": "1"}, "password"),
        ({"username": "dee", "is_superuser": "true"}, "is_superuser"),
        ({"username": 5}, "body"),
        ({"username": "dee", "name": "half \ud800"}, "name"),
        ({"username": "dee", "name": "a\0b"}, "name"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_created(sign_in, fields, named):
    response = post_user(sign_in("root"), **fields)
    assert response.status_code == 400
    assert list(response.json()["fields"]) == [named]
    assert User.objects.count() == 4


def test_what_is_no_json_is_refused(sign_in):
    client = sign_in("root")
    for body in ("{", "[" * 100_000, b"\xff"):
        response = client.post("/t/acme/api/users", body, content_type=JSON)
        assert response.json()["fields"] == {"body": ["The body is not JSON."]}


def test_members_and_forms_from_elsewhere_create_no_users(site, sign_in):
    assert post_user(sign_in("ada"), username="dee").status_code == 403
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.root)
    assert post_user(client, username="dee").status_code == 403
    assert not User.objects.filter(username="dee").exists()


def test_migrating_is_not_there_without_a_configured_token(client, settings):
    settings.MIGRATE_TOKEN = ""
    assert client.post("/api/migrate", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", "secret-of-migrate", "Bearer t\u00f6ken"]
)
def test_migrating_without_the_right_token_is_refused(client, settings, header):
    settings.MIGRATE_TOKEN = "secret-of-migrate"
    headers = {"Authorization": header} if header else {}
    assert client.post("/api/migrate", headers=headers).status_code == 403


def test_the_token_for_migrating_is_compared_in_a_time_that_does_not_tell_how_near_another_is(
    client, settings, monkeypatch
):
    compared = []
    monkeypatch.setattr("project.views.compare_digest", lambda *texts: compared.append(texts))
    settings.MIGRATE_TOKEN = "secret-of-migrate"
    assert client.post("/api/migrate", headers={"Authorization": "Bearer secret-of"}).status_code == 403
    assert compared == [(b"Bearer secret-of", b"Bearer secret-of-migrate")]


def test_a_migration_that_fails_by_its_own_code_is_reported(client, settings, monkeypatch):
    def fail(*args, stdout, **options):
        stdout.write("Applying accounts.0002")
        raise KeyError("what the migration looked for")

    monkeypatch.setattr("project.views.call_command", fail)
    settings.MIGRATE_TOKEN = "secret-of-migrate"
    response = client.post("/api/migrate", headers={"Authorization": "Bearer secret-of-migrate"})
    report = {
        "ok": False,
        "output": ["Applying accounts.0002"],
        "error": "KeyError: 'what the migration looked for'",
    }
    assert response.status_code == 500
    assert response.json() == {"ok": False, "d1": report}


def test_migrating_takes_a_post(client, settings):
    settings.MIGRATE_TOKEN = "secret-of-migrate"
    response = client.get("/api/migrate", headers={"Authorization": "Bearer secret-of-migrate"})
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_migrating_brings_d1_and_a_new_tenant_to_head_and_reports_both(site, client, settings):
    settings.MIGRATE_TOKEN = "secret-of-migrate"
    Tenant.objects.create(slug="behind", name="Nobody migrated it")
    response = client.post("/api/migrate", headers={"Authorization": "Bearer secret-of-migrate"})
    report = response.json()
    assert (response.status_code, report["ok"]) == (200, True)
    assert any("No migrations to apply" in line for line in report["d1"]["output"])
    assert any("behind" in line for line in report["tenants"]["output"])
    assert list(User.objects.using("tenant/behind")) == []
