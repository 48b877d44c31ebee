"""Consumers of Channels run in the tenant of their connection, through Channels' own communicator."""

import asyncio

import pytest
from asgiref.sync import async_to_sync

from do_bridge import current_tenant, tenant_context
from do_bridge.contrib import channels as contrib
from do_bridge.tenancy import NoTenant
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.tenants import lookup
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

needed("channels")

from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.layers import InMemoryChannelLayer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.testing import HttpCommunicator, WebsocketCommunicator  # noqa: E402
from django.urls import path, reverse  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
LAYER = InMemoryChannelLayer()
SECONDS = 60


class Notes(AsyncJsonWebsocketConsumer):
    """Writes a tenant's notes."""

    async def receive_json(self, content, **kwargs):
        try:
            await Note.objects.acreate(text=content["text"])
            found = await database_sync_to_async(self.texts)()
            await self.send_json({"tenant": current_tenant(), "texts": found, "url": reverse("page")})
        except NoTenant:
            await self.send_json({"tenant": current_tenant(), "error": "NoTenant"})

    def texts(self):
        assert self.scope["tenant"].slug == current_tenant()
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


class SyncNotes(JsonWebsocketConsumer):
    """The same in threads."""

    def receive_json(self, content, **kwargs):
        Note.objects.create(text=content["text"])
        self.send_json({"tenant": current_tenant(), "texts": [note.text for note in Note.objects.all()]})


class Lobby(AsyncJsonWebsocketConsumer):
    """A group of a tenant's own."""

    async def connect(self):
        await LAYER.group_add(contrib.tenant_group("lobby"), self.channel_name)
        await self.accept()

    async def receive_json(self, content, **kwargs):
        await LAYER.group_send(contrib.tenant_group("lobby"), {"type": "said", "text": content["text"]})

    async def said(self, event):
        await self.send_json({"tenant": current_tenant(), "text": event["text"]})


class Page(AsyncHttpConsumer):
    """An answer over HTTP."""

    async def handle(self, body):
        await self.send_response(200, str(current_tenant()).encode())


ROUTES = URLRouter(
    [
        path("ws/notes/", Notes.as_asgi()),
        path("ws/sync/", SyncNotes.as_asgi()),
        path("ws/lobby/", Lobby.as_asgi()),
        path("page/", Page.as_asgi()),
    ]
)
MIDDLEWARE = contrib.TenantConnectionMiddleware(ROUTES)
APPLICATION = ProtocolTypeRouter({"websocket": MIDDLEWARE, "http": MIDDLEWARE})


@pytest.fixture
def slugs(make_tenant):
    return [make_tenant().slug for _ in range(2)]


@pytest.fixture(autouse=True)
def layer(monkeypatch):
    monkeypatch.setattr("channels.consumer.get_channel_layer", lambda alias: LAYER)


def run(function):
    """Run a coroutine function in a loop of its own."""
    return async_to_sync(function)()


async def opened(url, **options):
    communicator = WebsocketCommunicator(APPLICATION, url, **options)
    return communicator, await communicator.connect(SECONDS)


async def asked(communicator, text):
    await communicator.send_json_to({"text": text})
    return await communicator.receive_json_from(SECONDS)


@pytest.mark.parametrize("kind", ["notes", "sync"])
def test_each_connection_has_its_tenant_and_two_at_once_are_kept_apart(slugs, kind):
    async def scenario():
        both = [(await opened(f"/t/{slug}/ws/{kind}/"))[0] for slug in slugs]
        answers = [
            await asyncio.gather(
                *(asked(one, f"{n} of {slug}") for one, slug in zip(both, slugs, strict=True))
            )
            for n in range(3)
        ]
        for one in both:
            await one.disconnect(timeout=SECONDS)
        return answers[-1]

    for slug, answer in zip(slugs, run(scenario), strict=True):
        assert (answer["tenant"], answer["texts"]) == (slug, [f"{n} of {slug}" for n in range(3)])
        if kind == "notes":
            assert answer["url"] == f"/t/{slug}/page/"
    assert current_tenant() is None


def test_a_connection_without_a_tenant_has_none_though_one_is_current_outside(slugs):
    async def scenario():
        with tenant_context(slugs[0]):
            communicator, accepted = await opened("/ws/notes/")
            answer = await asked(communicator, "x")
            await communicator.disconnect(timeout=SECONDS)
            return accepted[0], answer, current_tenant()

    assert run(scenario) == (True, {"tenant": None, "error": "NoTenant"}, slugs[0])


@pytest.mark.parametrize("slug", ["no-such-tenant", "Not_A_Slug", "x" * 80])
def test_an_unknown_tenant_is_refused_before_a_consumer_begins(db, slug):
    async def scenario():
        return (await opened(f"/t/{slug}/ws/notes/"))[1]

    assert run(scenario) == (False, contrib.NOT_FOUND)


def test_a_tenant_that_is_being_migrated_is_to_be_tried_later(slugs, monkeypatch):
    def behind(slug):
        raise TenantBehind("The tenant is being migrated.")

    monkeypatch.setattr(lookup, "get", behind)

    async def scenario():
        return (await opened(f"/t/{slugs[0]}/ws/notes/"))[1]

    assert run(scenario) == (False, contrib.TRY_AGAIN_LATER)


def test_a_tenants_subdomain_chooses_it_and_a_foreign_host_is_refused(slugs, settings):
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"TENANT_DOMAIN": "example.test"}
    settings.ALLOWED_HOSTS = [".example.test"]

    async def scenario(host):
        communicator, accepted = await opened("/ws/notes/", headers=[(b"host", host.encode())])
        if not accepted[0]:
            return accepted
        answer = await asked(communicator, "x")
        await communicator.disconnect(timeout=SECONDS)
        return answer["tenant"]

    assert async_to_sync(scenario)(f"{slugs[1]}.example.test") == slugs[1]
    assert async_to_sync(scenario)("elsewhere.test") == (False, contrib.NOT_FOUND)


def test_a_group_is_its_tenants_own(slugs):
    async def scenario():
        first, _ = await opened(f"/t/{slugs[0]}/ws/lobby/")
        second, _ = await opened(f"/t/{slugs[1]}/ws/lobby/")
        answer = await asked(first, "hello")
        silent = await second.receive_nothing()
        for one in (first, second):
            await one.disconnect(timeout=SECONDS)
        return answer, silent

    assert run(scenario) == ({"tenant": slugs[0], "text": "hello"}, True)
    with pytest.raises(NoTenant, match="The group 'lobby' belongs to no tenant"):
        contrib.tenant_group("lobby")


def test_http_consumers_have_their_tenant_too(slugs):
    async def scenario():
        found = HttpCommunicator(APPLICATION, "GET", f"/t/{slugs[0]}/page/")
        missing = HttpCommunicator(APPLICATION, "GET", "/t/no-such-tenant/page/")
        return (await found.get_response(SECONDS))["body"], (await missing.get_response(SECONDS))["status"]

    assert run(scenario) == (slugs[0].encode(), 404)
