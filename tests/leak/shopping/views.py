"""The shop's views, called as Django calls them: by many threads of one process, each in a tenant."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import set_urlconf

from do_bridge.tenancy import unset_context
from tests.leak.actor import Actor
from tests.leak.crossing import check_one
from tests.leak.marks import check, mark, require
from tests.leak.shop import edit_views, views
from tests.leak.shop.models import Item
from tests.leak.shopping.common import category_key, in_both, item_key
from tests.leak.shopping.forms import data

FACTORY = RequestFactory()
_PLACE = threading.local()


def called(view: Any, sent: dict[str, Any] | None = None, **arguments: Any) -> HttpResponse:
    """Return the view's answer to a visitor: to a form that is sent, or to a plain request."""
    request = FACTORY.get("/") if sent is None else FACTORY.post("/", sent)
    request.user = AnonymousUser()
    set_urlconf(settings.TENANT_URLCONF)
    response = view(request, **arguments)
    return response.render() if hasattr(response, "render") else response


def page(view: Any, sent: dict[str, Any] | None = None, **arguments: Any) -> str:
    """Return the text of the view's answer."""
    return called(view, sent, **arguments).text


LIST = views.Items.as_view()
READERS = [
    lambda actor: page(LIST),
    lambda actor: page(views.ItemDetail.as_view(), pk=item_key(actor)),
    lambda actor: page(views.CategoryDetail.as_view(), pk=category_key(actor)),
    lambda actor: page(views.Categories.as_view()),
    lambda actor: page(views.categories),
    lambda actor: page(views.one, pk=item_key(actor)),
    lambda actor: page(views.discussed),
    lambda actor: page(edit_views.CreateItem.as_view()),
    lambda actor: page(edit_views.UpdateItem.as_view(), pk=item_key(actor)),
    lambda actor: page(edit_views.UpdateCategory.as_view(), pk=category_key(actor)),
    lambda actor: page(edit_views.Search.as_view()),
    lambda actor: page(edit_views.category_items, pk=category_key(actor)),
]


def listed(actor: Actor, slug: str) -> int:
    """A list view whose class has a queryset with prefetches."""
    in_both(actor, slug, lambda of: check(of, page(LIST)))
    return 2


def shown(actor: Actor, slug: str) -> int:
    """Any page that shows something."""
    read = actor.random.choice(READERS)
    in_both(actor, slug, lambda of: check(of, read(actor)))
    return 2


def remembered(actor: Actor, slug: str) -> int:
    """A view shows a module's queryset without `.all()`."""
    how = actor.random.choice(list(views.REMEMBERED))
    in_both(actor, slug, lambda of: check_one((of,), lambda: [page(views.remembered, how=how)]))
    return 2


def edited(actor: Actor, slug: str) -> int:
    """An item is made, changed and deleted by generic views."""
    sent = data(actor, slug, category_key(actor))
    answer = called(edit_views.CreateItem.as_view(), sent)
    require(slug, answer.status_code == 302, f"a new item was not taken: {answer.text[:300]}")
    key = int(answer["location"].strip("./"))
    check(slug, Item.objects.get(pk=key, name=sent["name"]).category.name)
    sent = data(actor, slug, category_key(actor))
    for view in (edit_views.UpdateItem, edit_views.DeleteItem):
        answer = called(view.as_view(), sent, pk=key)
        require(slug, answer.status_code == 302, f"{view.__name__} took nothing: {answer.text[:300]}")
    require(slug, not Item.objects.filter(pk=key, name=sent["name"]).exists(), "an item is still there")
    return 6


def searched(actor: Actor, slug: str) -> int:
    def work(of: str) -> None:
        sent = {"category": category_key(actor), "labels": [f"{mark(of)} label1", f"{mark(of)} label2"]}
        check(of, page(edit_views.Search.as_view(), sent))

    in_both(actor, slug, work)
    return 4


def by_middleware(actor: Actor, slug: str) -> int:
    """All of the site stands around the view; the tenant is found by the path."""
    if not hasattr(_PLACE, "client"):
        _PLACE.client = Client()
    with unset_context():
        for of in (slug, actor.other(slug)):
            check(of, _PLACE.client.get(f"/t/{of}/shop/items/").text)
            check(of, _PLACE.client.get(f"/t/{of}/shop/items/{item_key(actor)}/").text)
    return 4


OPERATIONS = {listed: 8, shown: 8, remembered: 2, edited: 1, searched: 1, by_middleware: 2}
