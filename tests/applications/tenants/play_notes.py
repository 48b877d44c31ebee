"""Signs people in, lets them write in two tenants, and looks at what tags, histories and revisions say."""

import json
import os
import sys

import django

TOKENS = os.environ["NOTES_TOKENS"]
TENANTS = ("acme", "zeta")


def main():
    django.setup()
    from django.contrib.auth.models import Permission, User
    from django.core.management import call_command

    from do_bridge.tenancy.lifecycle.creation import create_tenant
    from tests.applications.tenants.people.models import Tenant

    call_command("migrate", verbosity=0)
    ada, eve = (User.objects.create_user(name, password="a-pass-word") for name in ("ada", "eve"))
    for user in (ada, eve):
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="notes"))
    for slug in TENANTS:
        create_tenant(slug, members=[ada])
    assert Tenant.objects.count() == 2
    for slug in TENANTS:
        for user in (ada, eve):
            write(slug, user)
            write_by_api(slug, user)
    for slug in TENANTS:
        look(slug)
    look_at_the_directory()


def client_of(user):
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client


def write(slug, user):
    """Write by a page of whoever is signed in."""
    text, tags = f"{slug} {user}", ["all", slug, str(user)]
    answer = client_of(user).post(f"/t/{slug}/write/", {"text": text, "tag": tags})
    assert answer.status_code == 200, answer
    assert answer.json()["mine"] == [user.username], answer.json()


def write_by_api(slug, user):
    """Write with a token of the tenant's, or of D1's."""
    from django.test import Client

    key = client_of(user).get(f"/t/{slug}/token/").json()["token"]
    client = Client(headers={"authorization": f"Token {key}"})
    data = json.dumps({"text": f"{slug} {user} by API", "tags": ["api", slug]})
    answer = client.post(f"/t/{slug}/api/notes/", data, content_type="application/json")
    if TOKENS == "tenant" and user.username == "eve":
        # Her copy in the tenant is inactive, since she is no member.
        assert answer.status_code == 401, answer.content
        return
    assert answer.status_code == 201, answer.content
    assert (answer.json()["author"], sorted(answer.json()["tags"])) == (user.username, sorted(["api", slug]))
    listed = client.get(f"/t/{slug}/api/notes/").json()
    assert listed, "nothing"
    assert all(row["text"].startswith(slug) for row in listed), listed
    password = {"username": "ada", "password": "a-pass-word"}
    assert Client().post(f"/t/{slug}/api/token/", password).status_code == 200


def look(slug):
    """Look at all that the tenant has: whose it is, and that nothing is another tenant's."""
    from django.contrib.auth.models import User
    from reversion.models import Revision, Version
    from taggit.models import Tag

    from do_bridge.tenancy import tenant_alias, tenant_context
    from tests.applications.tenants.notes.models import Note

    names = {"ada", "eve"}
    copies = User.objects.using(tenant_alias(slug)).values_list("username", "is_active", "password")
    assert sorted(copies) == [("ada", True, "!copy"), ("eve", False, "!copy")], copies
    with tenant_context(slug):
        notes = list(Note.objects.all())
        assert {note.author.username for note in notes} == names
        assert all(note.text.startswith(slug) for note in notes), notes
        for note in notes:
            history = list(note.history.all())
            assert {row.history_user.username for row in history} == {note.author.username}, history
            versions = Version.objects.get_for_object(note)
            assert {version.revision.user.username for version in versions} == {note.author.username}
        by_page = Note.objects.get(text=f"{slug} ada!")
        assert [row.text for row in by_page.history.all()] == [f"{slug} ada!", f"{slug} ada"]
        assert set(by_page.tags.names()) == {"all", slug, "ada"}
        assert set(Note.objects.filter(tags__name__in=["api"]).values_list("text", flat=True)) == {
            note.text for note in notes if note.text.endswith("API")
        }
        assert not Tag.objects.filter(name__in=set(TENANTS) - {slug}).exists()
        before = Revision.objects.count()
        assert before == len(notes), (before, notes)
        # Back to what it was.
        Note.objects.filter(pk=by_page.pk).update(text="spoilt")
        Version.objects.get_for_object(by_page).latest("pk").revert()
        by_page.refresh_from_db()
        assert by_page.text == f"{slug} ada!"
        previous = by_page.history.earliest().instance
        assert (previous.text, previous.author.username) == (f"{slug} ada", "ada")


def look_at_the_directory():
    """Nothing of the tenants' is in D1."""
    from django.contrib.auth.models import User
    from django.db import connections

    assert User.objects.get(username="ada").check_password("a-pass-word")
    tables = ["notes_note", "notes_historicalnote", "taggit_tag", "reversion_revision"]
    with connections["default"].cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,), table


if __name__ == "__main__":
    main()
    sys.stdout.write("done\n")
