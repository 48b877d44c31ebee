"""The Server-Timing header counts round trips while DEBUG is on; observers never break a request."""

import logging
import re

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from do_bridge import tenant_context
from do_bridge.contrib.observing import collect_calls
from do_bridge.driver.calls import observe
from do_bridge.tenancy.tenants import lookup
from tests.applications.integrations.desk.models import Note

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
HEADER = re.compile(r'relay;dur=[0-9.]+;desc="(\d+) round trips"')
SECRET = "planted-4711"


def trips(response):
    return int(HEADER.search(response["Server-Timing"])[1])


@pytest.fixture
def url(make_tenant):
    slug = make_tenant().slug
    with tenant_context(slug):
        Note.objects.count()
    lookup.get(slug)
    return f"/t/{slug}/notes/"


def test_the_header_counts_the_round_trips_of_a_tenants_page(url, settings):
    settings.DEBUG = True
    client = Client()
    client.get(url)
    response = client.get(url, {"q": SECRET})
    assert trips(response) == 1
    assert SECRET not in response["Server-Timing"]
    assert trips(client.get("/plain/")) == 0


def test_an_asynchronous_server_has_the_header_too(url, settings):
    settings.DEBUG = True

    async def get():
        client = AsyncClient()
        await client.get(url)
        return await client.get(url)

    assert trips(async_to_sync(get)()) == 1


def test_without_debug_there_is_no_header(url):
    assert "Server-Timing" not in Client().get(url)


def test_collected_calls_have_the_alias_and_the_statements_and_no_value(make_tenant):
    slug = make_tenant().slug
    with tenant_context(slug), collect_calls() as calls, collect_calls() as inner:
        Note.objects.create(text=SECRET)
        assert Note.objects.filter(text=SECRET).count() == 1
    Note.objects.using(f"tenant/{slug}").count()
    own = [call for call in calls if call.name == f"tenant/{slug}"]
    assert [call.operation for call in own][-2:] == ["batch", "batch"]
    assert "INSERT INTO" in own[-2].sql[-1]
    assert (own[-1].rows, own[-1].statements) == (1, 1)
    assert inner == calls
    assert SECRET not in repr(calls)


def test_an_observer_that_fails_is_logged_and_the_request_is_not_harmed(make_tenant, caplog):
    slug = make_tenant().slug

    def fail(call):
        raise ValueError("an observer's own")

    undo = observe(fail)
    try:
        with tenant_context(slug), caplog.at_level(logging.ERROR, "do_bridge.driver"):
            Note.objects.create(text="x")
    finally:
        undo()
    assert "An observer of requests has failed." in caplog.text
    caplog.clear()
    with tenant_context(slug):
        assert Note.objects.count() == 1
    assert caplog.text == ""
