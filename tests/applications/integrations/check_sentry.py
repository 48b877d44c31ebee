"""Sentry's own integration sees the statements of D1 and of tenants, without values."""

import json
import warnings
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import transaction

from do_bridge import tenant_context
from do_bridge.tenancy.tenants import lookup
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

sentry_sdk = needed("sentry_sdk")

from sentry_sdk.transport import Transport  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SECRET = "planted-4711"


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self):
        super().__init__()
        self.envelopes = []

    def capture_envelope(self, envelope):
        self.envelopes.append(envelope)


@pytest.fixture
def sent():
    """sent(): the events that Sentry would get, as text and as objects."""
    transport = Kept()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sentry_sdk.init(dsn="http://key@localhost:1/1", transport=transport, traces_sample_rate=1.0)

    def read():
        sentry_sdk.flush()
        items = [item for envelope in transport.envelopes for item in envelope.items]
        return [item.payload.json for item in items if item.payload.json]

    yield read
    sentry_sdk.init()


def test_a_page_has_a_span_for_each_statement_of_every_database(make_tenant, sent, local_relay):
    slug = make_tenant().slug
    with tenant_context(slug):
        Note.objects.create(text="x")
    lookup.forget()
    environ = {"PATH_INFO": f"/t/{slug}/notes/", "QUERY_STRING": "", "HTTP_HOST": "testserver"}
    setup_testing_defaults(environ)
    # Sentry patches the handler that servers call.
    list(get_wsgi_application()(environ, lambda status, headers: None))
    (event,) = [event for event in sent() if event.get("type") == "transaction"]
    spans = [span for span in event["spans"] if span["op"] == "db"]
    described = [(span["data"]["db.system"], span["description"]) for span in spans]
    assert {system for system, _ in described} == {"sqlite"}
    assert any("desk_tenant" in text for _, text in described)
    assert any("desk_note" in text for _, text in described)
    assert local_relay.token not in json.dumps(event)


def test_no_span_has_a_value(make_tenant, sent):
    slug = make_tenant().slug
    with sentry_sdk.start_transaction(name="t"), tenant_context(slug), transaction.atomic():
        Note.objects.create(text=SECRET)
        assert Note.objects.filter(text=SECRET).count() == 1
    text = json.dumps(sent())
    assert "INSERT INTO" in text
    assert SECRET not in text
