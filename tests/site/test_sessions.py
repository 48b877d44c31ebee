"""A session that cannot be written: by a fault of the database, and because somebody has deleted it."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from do_bridge import driver


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
    expired = Session.objects.first()
    Session.objects.filter(pk=expired.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    call_command("clearsessions")
    assert Session.objects.count() == 1
    assert not Session.objects.filter(pk=expired.pk).exists()
