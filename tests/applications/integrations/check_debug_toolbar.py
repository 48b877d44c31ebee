"""The toolbar's panel shows what a page sends to all databases, tenants' too, without values."""

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from do_bridge import tenant_context
from do_bridge.tenancy.tenants import lookup
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

needed("debug_toolbar")

from debug_toolbar.toolbar import DebugToolbar  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SECRET = "planted-4711"


@pytest.fixture
def acme(make_tenant):
    slug = make_tenant().slug
    with tenant_context(slug):
        Note.objects.create(text=SECRET)
    lookup.forget()
    return slug


@pytest.fixture
def panels(monkeypatch):
    """The panels of the requests so far, newest last."""
    made, init = [], DebugToolbar.__init__

    def note(self, *arguments, **options):
        init(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(DebugToolbar, "__init__", note)
    return lambda: [toolbar.get_panel_by_id("RelayPanel") for toolbar in made]


def test_the_panel_shows_the_statements_of_d1_and_of_a_tenant(acme, panels, local_relay):
    response = Client().get(f"/t/{acme}/notes/", {"q": SECRET})
    assert b"<p>1</p>" in response.content
    assert b"djDebug" in response.content
    (panel,) = panels()
    content = panel.content
    assert ["default", f"tenant/{acme}"] == list(
        dict.fromkeys(call["alias"] for call in panel.get_stats()["calls"])
    )
    assert f"<td>tenant/{acme}</td>" in content
    assert "desk_note" in content
    assert panel.get_stats()["trips"] == len(panel.get_stats()["calls"])
    assert panel.nav_subtitle.startswith(f"{panel.get_stats()['trips']} in ")
    assert SECRET not in content + str(panel.get_stats())
    assert local_relay.token not in content + str(panel.get_stats())


def test_an_asynchronous_server_shows_the_same(acme, panels):
    async_to_sync(AsyncClient().get)(f"/t/{acme}/notes/")
    (panel,) = panels()
    assert f"tenant/{acme}" in [call["alias"] for call in panel.get_stats()["calls"]]


def test_requests_do_not_see_each_others_statements(acme, panels):
    client = Client()
    client.get(f"/t/{acme}/notes/")
    client.get("/plain/")
    first, second = panels()
    assert first.get_stats()["trips"] >= 2
    assert (second.get_stats()["trips"], second.get_stats()["calls"]) == (0, [])
