"""The sessions of the site: read with their users, and what comes of one that cannot be written."""

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore as DjangosStore
from django.contrib.sessions.models import Session as DjangosSession
from django.core.management import call_command
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from do_bridge import driver
from do_bridge.contrib.sessions.models import Session


@pytest.fixture
def bo(sign_in, settings):
    """A member whose every request writes the session."""
    client = sign_in("bo")
    client.raise_request_exception = False
    settings.SESSION_SAVE_EVERY_REQUEST = True
    return client


@pytest.mark.parametrize("path", ["/t/acme/", "/"])
def test_a_session_that_d1_did_not_take_is_a_503_and_not_the_visitors_fault(bo, monkeypatch, path):
    def save(self, *args, **kwargs):
        cause = driver.OperationalError("The connection was lost.", effect="unknown", transient=True)
        raise OperationalError("The connection was lost.") from cause

    monkeypatch.setattr(Session, "save", save)
    answer = bo.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Temporarily unavailable" in answer.content.decode()


def test_a_session_that_was_deleted_meanwhile_is_a_400(bo, monkeypatch):
    def page_number(request):
        assert request.session.session_key
        assert request.user.is_authenticated
        Session.objects.all().delete()
        return 1

    monkeypatch.setattr("blog.views.page_number", page_number)
    assert bo.get("/t/acme/").status_code == 400


def test_clearing_sessions_ends_those_that_have_expired_and_no_other(sign_in):
    for name in ("ada", "bo"):
        sign_in(name)
    before, expired = Session.objects.count(), Session.objects.first()
    Session.objects.filter(pk=expired.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    call_command("clearsessions")
    assert Session.objects.count() == before - 1 >= 1
    assert not Session.objects.filter(pk=expired.pk).exists()


def test_who_is_signed_in_costs_one_trip(sign_in, count_trips, settings):
    settings.ROOT_URLCONF = __name__
    client = sign_in("bo")
    client.get("/who/")
    with count_trips() as trips:
        assert client.get("/who/").content == b"bo"
    assert trips.count == 1


def test_a_user_who_was_deleted_in_the_admin_is_signed_out_and_no_page_shows_the_sessions_key(site, sign_in):
    gil, root = sign_in("gil"), sign_in("root")
    url = f"/admin/accounts/user/{site.gil.pk}/delete/"
    key = gil.cookies["sessionid"].value
    assert key not in root.get(url).content.decode()
    assert root.post(url, {"post": "yes"}).status_code == 302
    assert "Log out" not in gil.get("/").content.decode()


def test_sessions_of_django_go_on_once_they_are_copied(site, client):
    old = DjangosStore()
    old.update({**client_data(site.bo), "cart": [1]})
    old.save()
    Session.objects.bulk_create(
        (Session(**row) for row in DjangosSession.objects.values()), ignore_conflicts=True
    )
    DjangosSession.objects.all().delete()
    client.cookies["sessionid"] = old.session_key
    assert "Log out" in client.get("/").content.decode()


def client_data(user):
    client = Client()
    client.force_login(user)
    return dict(client.session.items())


urlpatterns = [path("who/", lambda request: HttpResponse(request.user.username))]
