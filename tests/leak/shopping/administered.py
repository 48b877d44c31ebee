"""The shop's admin: lists with filters, forms, inlines and an action, without their templates."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.test import RequestFactory
from django.urls import resolve, set_urlconf

from accounts.models import User
from do_bridge.admin import tenant_site
from tests.leak.actor import Actor
from tests.leak.marks import check, owners, require
from tests.leak.shop.models import Category, Comment, Item, Label
from tests.leak.shopping.common import category_key, check_items, in_both, item_key

FACTORY = RequestFactory()


def _request(model: type, query: dict[str, Any] | None = None) -> Any:
    set_urlconf(settings.TENANT_URLCONF)
    path = f"/admin/shop/{model._meta.model_name}/"
    request = FACTORY.get(path, query)
    request.resolver_match = resolve(path)
    request.user = User(pk=0, username="root", is_active=True, is_staff=True, is_superuser=True)
    return request


def _changes(model: type, query: dict[str, Any] | None = None) -> Any:
    admin = tenant_site._registry[model]
    return admin.get_changelist_instance(_request(model, query))


def _choices(changes: Any) -> list[str]:
    """Return what the filters offer, but for "All" and "Empty"; content types are nobody's."""
    specs = [spec for spec in changes.filter_specs if spec.title != "content type"]
    shown = [str(choice["display"]) for spec in specs for choice in list(spec.choices(changes))[1:]]
    return [text for text in shown if text != changes.model_admin.get_empty_value_display()]


def listed(actor: Actor, slug: str) -> int:
    queries = [{"category__id__exact": category_key(actor)}, {"used": category_key(actor)}, {"q": "item"}, {}]
    query = actor.random.choice(queries)

    def work(of: str) -> None:
        changes = _changes(Item, query)
        check_items(actor, of, changes.result_list)
        check(of, *_choices(changes))

    in_both(actor, slug, work)
    return 14


def related_only(actor: Actor, slug: str) -> int:
    """Filters that offer only what some row has."""

    def work(of: str) -> None:
        changes = _changes(Label, {"items__category__id__exact": category_key(actor)})
        check(of, *(label.name for label in changes.result_list), *_choices(changes))

    in_both(actor, slug, work)
    return 4


def related_only_users(actor: Actor, slug: str) -> int:
    """The same for the tenant's copies of users."""

    def work(of: str) -> None:
        changes = _changes(Comment, {"author__id__exact": actor.cast.own[of]})
        for comment in changes.result_list:
            check(of, comment.text, comment.target.name)
        for name in _choices(changes):
            require(of, name == "Somebody" or owners(name) == {of}, f"a filter offers {name}")

    in_both(actor, slug, work)
    return 8


def counted(actor: Actor, slug: str) -> int:
    def work(of: str) -> None:
        check(of, *(category.name for category in _changes(Category).result_list))

    in_both(actor, slug, work)
    return 4


def forms(actor: Actor, slug: str) -> int:
    """The form of a row with its inlines."""

    def work(of: str) -> None:
        for model, key in ((Item, item_key(actor)), (Category, category_key(actor))):
            admin, request = tenant_site._registry[model], _request(model)
            row = admin.get_object(request, str(key))
            check(of, row.name, str(admin.get_form(request, row, change=True)(instance=row)))
            for formset_class, inline in admin.get_formsets_with_inlines(request, row):
                formset = formset_class(instance=row, queryset=inline.get_queryset(request))
                text = str(formset)
                require(of, owners(text) <= {of}, "an inline shows another tenant's rows")

    in_both(actor, slug, work)
    return 12


OPERATIONS = {listed: 2, related_only: 1, related_only_users: 1, counted: 1, forms: 1}
