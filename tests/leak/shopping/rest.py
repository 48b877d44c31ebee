"""The shop's REST API: viewsets, serializers and related fields with querysets of their classes."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.urls import set_urlconf
from rest_framework.test import APIRequestFactory

from tests.leak.actor import Actor
from tests.leak.marks import check, mark, require
from tests.leak.shop import api
from tests.leak.shop.models import Item
from tests.leak.shopping.common import category_key, in_both, item_key

FACTORY = APIRequestFactory()
ITEMS = api.ItemViewSet.as_view({"get": "list", "post": "create"})
ITEM = api.ItemViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})
CATEGORIES = api.CategoryViewSet.as_view({"get": "list"})
CATEGORY_ITEMS = api.CategoryViewSet.as_view({"get": "items"}, detail=True)
COMMENTS = api.CommentViewSet.as_view({"get": "list"})


def answered(view: Any, method: str, sent: Any = None, *, wants: str = "", **arguments: Any) -> Any:
    """Return the answer, rendered; `wants` is the Accept header."""
    headers = {"HTTP_ACCEPT": wants} if wants else {}
    request = getattr(FACTORY, method)("/", sent, format=None if method == "get" else "json", **headers)
    set_urlconf(settings.TENANT_URLCONF)
    return view(request, **arguments).render()


def body(actor: Actor, slug: str) -> dict[str, Any]:
    """Return what a client sends for an item."""
    return {
        "name": f"{mark(slug)} {actor.token()}",
        "stock": 2,
        "category": category_key(actor),
        "labels": [f"{mark(slug)} label1"],
        "owner_id": actor.cast.own[slug],
    }


def listed(actor: Actor, slug: str) -> int:
    def work(of: str) -> None:
        check(of, answered(ITEMS, "get", {"page": actor.random.randint(1, 2)}).text)
        check(of, answered(ITEMS, "get", {"search": f"{mark(of)} category1", "ordering": "-name"}).text)

    in_both(actor, slug, work)
    return 12


def read(actor: Actor, slug: str) -> int:
    def work(of: str) -> None:
        check(of, answered(ITEM, "get", pk=item_key(actor)).text)
        check(of, answered(CATEGORIES, "get").text, answered(COMMENTS, "get").text)
        check(of, answered(CATEGORY_ITEMS, "get", pk=category_key(actor)).text)

    in_both(actor, slug, work)
    return 14


def browsed(actor: Actor, slug: str) -> int:
    """The browsable API, with a form that offers rows."""
    in_both(actor, slug, lambda of: check(of, answered(ITEMS, "get", wants="text/html").text))
    return 4


def written(actor: Actor, slug: str) -> int:
    """An item is made, changed and deleted; its keys mean this tenant's rows."""
    answer = answered(ITEMS, "post", body(actor, slug))
    require(slug, answer.status_code == 201, f"a new item was not taken: {answer.text}")
    check(slug, answer.text)
    key = json.loads(answer.text)["id"]
    changed = answered(ITEM, "patch", {"category": category_key(actor)}, pk=key)
    require(slug, changed.status_code == 200, f"a change was not taken: {changed.text}")
    check(slug, changed.text, Item.objects.get(pk=key).category.name)
    gone = answered(ITEM, "delete", pk=key)
    require(slug, gone.status_code == 204, "a delete did not find the tenant's item")
    return 8


def strange_name(actor: Actor, slug: str) -> int:
    """Another tenant's name of a label is nobody's here."""
    sent = body(actor, slug) | {"labels": [f"{mark(actor.other(slug))} label1"]}
    require(slug, answered(ITEMS, "post", sent).status_code == 400, "another tenant's label was taken")
    return 2


OPERATIONS = {listed: 3, read: 2, browsed: 1, written: 1, strange_name: 1}
