"""Forms and formsets whose choices are querysets of a class or a module."""

from __future__ import annotations

from typing import Any

from do_bridge.tenancy import tenant_alias
from tests.leak.actor import Actor
from tests.leak.crossing import check_one
from tests.leak.marks import check, mark, require
from tests.leak.shop import catalogue
from tests.leak.shop.forms import (
    CategoryFormSet,
    CategoryItemFormSet,
    ItemForm,
    ItemFormSet,
    PlainItemForm,
    SearchForm,
    SharedForm,
)
from tests.leak.shop.models import Category, Item
from tests.leak.shopping.common import category_key, in_both, item_fields


def data(actor: Actor, slug: str, category: int) -> dict[str, Any]:
    """Return what a browser sends for an item."""
    return {
        "name": f"{mark(slug)} {actor.token()}",
        "stock": 3,
        "category": category,
        "labels": [1, 2],
        "owner": actor.cast.own[slug],
    }


def _is_valid(slug: str, form: Any) -> None:
    require(slug, form.is_valid(), f"a form refused the tenant's rows: {form.errors}")


def offered(actor: Actor, slug: str) -> int:
    """What forms offer is the tenant's."""

    def work(of: str) -> None:
        for form in (ItemForm(), PlainItemForm(), SearchForm(), ItemForm(instance=Item.objects.get(pk=1))):
            check(of, str(form))

    in_both(actor, slug, work)
    return 16


def saved(actor: Actor, slug: str) -> int:
    """What forms take is the tenant's, and what they save."""

    def work(of: str) -> None:
        for form_class in (ItemForm, PlainItemForm):
            form = form_class(data(actor, of, category_key(actor)))
            _is_valid(of, form)
            item = form.save()
            require(of, item._state.db == tenant_alias(of), "a form has saved elsewhere")
            check(of, item.category.name, *(label.name for label in item.labels.all()))
            item.delete()
        item = catalogue.ITEMS.create(**item_fields(actor, of))
        form = ItemForm(data(actor, of, category_key(actor)), instance=item)
        _is_valid(of, form)
        check(of, form.save().name, item.category.name)
        item.delete()

    in_both(actor, slug, work)
    return 20


def searched(actor: Actor, slug: str) -> int:
    """A plain form gives the tenant's rows, which conditions take."""

    def work(of: str) -> None:
        names = list(catalogue.LABELS.values_list("name", flat=True))[:1]
        form = SearchForm({"category": category_key(actor), "labels": names})
        _is_valid(of, form)
        category, labels = form.cleaned_data["category"], form.cleaned_data["labels"]
        check(of, category.name, *(label.name for label in labels))
        found = Item.objects.filter(category=category) | Item.objects.filter(labels__in=labels)
        check(of, *(item.name for item in found.distinct()))

    in_both(actor, slug, work)
    return 8


def rebased(actor: Actor, slug: str) -> int:
    """Each request gives the class of a form its choices, which threads then share."""

    def work(of: str) -> None:
        SharedForm.base_fields["category"].queryset = Category.objects.order_by("pk")
        check_one((of,), lambda: [str(SharedForm())])

    in_both(actor, slug, work)
    return 2


def strange_name(actor: Actor, slug: str) -> int:
    """A form takes no row by another tenant's name of it."""
    form = SearchForm({"labels": [f"{mark(actor.other(slug))} label1"]})
    require(slug, not form.is_valid(), "a form took another tenant's label")
    return 1


def many(actor: Actor, slug: str) -> int:
    """Formsets of a module: what they show, and a change by one."""

    def work(of: str) -> None:
        formset = ItemFormSet(queryset=catalogue.ITEMS.filter(pk__lte=2))
        check(of, str(formset), *(form.instance.name for form in formset.initial_forms))
        check(of, str(CategoryFormSet(queryset=catalogue.CATEGORIES.order_by("pk"))))
        category = Category.objects.get(pk=category_key(actor))
        inline = CategoryItemFormSet(instance=category)
        check(of, str(inline), *(form.instance.name for form in inline.initial_forms))

    in_both(actor, slug, work)
    return 10


def many_saved(actor: Actor, slug: str) -> int:
    """A new item by an inline formset."""
    category = catalogue.CATEGORIES.get(pk=category_key(actor))
    prefix = "items"
    sent = {f"{prefix}-0-{name}": value for name, value in data(actor, slug, category.pk).items()}
    sent |= {f"{prefix}-TOTAL_FORMS": 1, f"{prefix}-INITIAL_FORMS": 0}
    formset = CategoryItemFormSet(sent, instance=category, queryset=catalogue.ITEMS.none())
    _is_valid(slug, formset)
    (item,) = formset.save()
    require(slug, item._state.db == tenant_alias(slug), "a formset has saved elsewhere")
    check(slug, item.name, *(label.name for label in item.labels.all()))
    item.delete()
    return 5


OPERATIONS = {offered: 2, saved: 1, searched: 2, rebased: 1, strange_name: 1, many: 1, many_saved: 1}
