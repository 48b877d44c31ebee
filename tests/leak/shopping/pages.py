"""The shop's pages from outside: people go from tenant to tenant, through gunicorn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.leak.actor import Actor
from tests.leak.marks import MixUp, check, mark, owners, require
from tests.leak.pages import People
from tests.leak.shopping import fresh
from tests.leak.shopping.common import category_key, item_key
from tests.leak.shopping.lists import READERS

VISITS = 6  # of one module that is imported by a page: each process imports it for itself


def _pages(actor: Actor) -> list[str]:
    item, category = item_key(actor), category_key(actor)
    return [
        *("items/", "items/?page=2", f"items/{item}/", f"items/{item}/short/", f"items/{item}/edit/"),
        *("categories/", "categories/all/", f"categories/{category}/", f"categories/{category}/items/"),
        *("items/new/", "search/", "discussed/"),
    ]


def _both(people: People, actor: Actor, slug: str, path: str) -> int:
    """Show a page of this tenant and of another one."""
    for of in (slug, actor.other(slug)):
        check(of, people.visitor.get(f"/t/{of}/shop/{path}"))
    return 2


def listed(people: People, actor: Actor, slug: str) -> int:
    return _both(people, actor, slug, "items/")


def shown(people: People, actor: Actor, slug: str) -> int:
    return _both(people, actor, slug, actor.random.choice(_pages(actor)))


def remembered(people: People, actor: Actor, slug: str) -> int:
    return _both(people, actor, slug, f"remembered/{actor.random.choice(list(READERS))}/")


def imported(people: People, actor: Actor, slug: str) -> int:
    """Pages of several tenants import one module, each process for itself."""
    name = fresh.write()
    for _ in range(VISITS // 2):
        _both(people, actor, slug, f"lazy/{name}/")
    return VISITS


def edited(people: People, actor: Actor, slug: str) -> int:
    """An item is made, changed and deleted by forms."""
    path = f"/t/{slug}/shop/items/new/"
    sent = {"name": f"{mark(slug)} {actor.token()}", "stock": 2, "category": category_key(actor)}
    sent |= {"labels": [1, 2], "owner": actor.cast.own[slug]}
    target = people.visitor.post(path, sent, page=people.visitor.get(path))
    item = f"/t/{slug}/shop/items/{int(target.strip('./'))}/"
    page = people.visitor.get(item)
    check(slug, page)
    require(slug, sent["name"] in page, "a new item is elsewhere")
    edit, delete = f"{item}edit/", f"{item}delete/"
    sent["category"] = category_key(actor)
    people.visitor.post(edit, sent, page=people.visitor.get(edit))
    people.visitor.post(delete, {}, page=people.visitor.get(delete))
    return 7


def asked(people: People, actor: Actor, slug: str) -> int:
    """The API in JSON."""
    paths = ["items/?", "items/?page=2&ordering=name&", f"items/{item_key(actor)}/?", "categories/?"]
    paths += ["items/?search=category1&", f"categories/{category_key(actor)}/items/?", "comments/?"]
    return _both(people, actor, slug, f"api/{actor.random.choice(paths)}format=json")


def browsed(people: People, actor: Actor, slug: str) -> int:
    """The API as pages with forms."""
    return _both(
        people, actor, slug, actor.random.choice(["api/items/", "api/categories/1/"]) + "?format=api"
    )


def told(people: People, actor: Actor, slug: str) -> int:
    """An item is made and deleted by the API; the category's key is that of this tenant's."""
    sent: dict[str, Any] = {"name": f"{mark(slug)} {actor.token()}", "category": category_key(actor)}
    sent |= {"labels": [f"{mark(slug)} label1"], "owner_id": actor.cast.own[slug]}
    text = people.visitor.send("POST", f"/t/{slug}/shop/api/items/", sent, status=201)
    check(slug, text)
    people.visitor.send("DELETE", f"/t/{slug}/shop/api/items/{json.loads(text)['id']}/", None, status=204)
    return 2


def administered(people: People, actor: Actor, slug: str) -> int:
    """The admin's lists with filters, and its forms with inlines."""
    item, category = item_key(actor), category_key(actor)
    paths = [
        *("item/", f"item/?category__id__exact={category}", f"item/?used={category}", "item/?q=category1"),
        *(f"item/{item}/change/", "item/add/", f"category/{category}/change/", "category/"),
        *(f"label/?items__category__id__exact={category}", "label/", "comment/?author__id__exact=2"),
    ]
    path = actor.random.choice(paths)
    for of in (slug, actor.other(slug)):
        check(of, people.root.get(f"/t/{of}/admin/shop/{path}"))
    return 2


def related_users(people: People, actor: Actor, slug: str) -> int:
    """A filter by the users that some row has."""
    for of in (slug, actor.other(slug)):
        check(of, people.root.get(f"/t/{of}/admin/shop/comment/"))
    return 2


def completed(people: People, actor: Actor, slug: str) -> int:
    query = "app_label=shop&model_name=item&field_name=labels"
    for of in (slug, actor.other(slug)):
        check(of, people.root.get(f"/t/{of}/admin/autocomplete/?{query}"))
    return 2


def restocked(people: People, actor: Actor, slug: str) -> int:
    """An action of the admin changes rows and names them."""
    path = f"/t/{slug}/admin/shop/item/"
    sent = {"action": "restock", "_selected_action": [item_key(actor), item_key(actor)]}
    people.root.post(path, sent, page=people.root.get(path))
    other = actor.other(slug)
    found = owners(people.root.get(f"/t/{other}/admin/shop/category/"))
    if not found <= {other}:
        raise MixUp(f"{other} shows the message of an action in {sorted(found - {other})}")
    check(slug, people.root.get(path))
    return 4


OPERATIONS: dict[Callable[[People, Actor, str], int], int] = {
    listed: 8,
    shown: 10,
    remembered: 3,
    imported: 3,
    edited: 2,
    asked: 4,
    browsed: 2,
    told: 2,
    administered: 4,
    related_users: 1,
    completed: 1,
    restocked: 1,
}
