"""Modules that are imported for the first time while some tenant is current, as Django does with many."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from django.db import connections
from django.template import Engine, RequestContext

from do_bridge.tenancy import tenant_context, unset_context
from tests.leak.actor import Actor
from tests.leak.marks import check
from tests.leak.shopping.common import check_items, in_both
from tests.leak.shopping.views import FACTORY

RACERS = 3
_NUMBERS = itertools.count()

SOURCE = '''"""A view with what stands around it; this copy of the file has a name of its own."""

from django import forms, template
from django.db.models import Exists, OuterRef, Prefetch
from django.http import HttpResponse

from tests.leak.shop.models import Category, Item, Label

register = template.Library()

CATEGORIES = Category.objects.order_by("name")
LABELS = Label.objects.all()
ITEMS = Item.objects.order_by("pk").prefetch_related(
    Prefetch("category", queryset=CATEGORIES), Prefetch("labels", queryset=LABELS)
)
SOLD = Category.objects.filter(Exists(Item.objects.filter(category=OuterRef("pk"))))
NAMED = Category.by_name.all()


class ItemForm(forms.Form):
    category = forms.ModelChoiceField(queryset=Category.objects.order_by("pk"))


@register.simple_tag
def categories():
    return ", ".join(category.name for category in CATEGORIES.all())


def context(request):
    return {"labels": LABELS.all()}


def texts(rows=Item.objects.filter(stock__gt=0)):
    return [
        *(item.name for item in rows.all()),
        *(category.name for part in (SOLD, NAMED) for category in part.all()),
        str(ItemForm()),
    ]


def view(request):
    shown = [f"{item.name} {item.category.name}" for item in ITEMS.all()]
    return HttpResponse("\\n".join([*texts(), *shown]))
'''
TEMPLATE = "{% load fresh %}{% categories %} {% for label in labels %}{{ label.name }} {% endfor %}"


def write() -> str:
    """Write a module that nobody has imported yet; return its name."""
    name = f"fresh_{os.getpid()}_{next(_NUMBERS)}"
    (Path(os.environ["LEAK_FRESH"]) / f"{name}.py").write_text(SOURCE)
    importlib.invalidate_caches()
    return name


@contextlib.contextmanager
def written() -> Iterator[str]:
    """Give the name of a new module, which is gone afterwards."""
    name = write()
    try:
        yield name
    finally:
        sys.modules.pop(name, None)
        (Path(os.environ["LEAK_FRESH"]) / f"{name}.py").unlink()


def _check(actor: Actor, slug: str, module: ModuleType) -> None:
    check(slug, *module.texts(), module.view(FACTORY.get("/")).text)
    check_items(actor, slug, module.ITEMS.all())


def imported(actor: Actor, slug: str) -> int:
    """A view imports a module; the next request is another tenant's."""
    with written() as name:
        in_both(actor, slug, lambda of: _check(actor, of, importlib.import_module(name)))
    return 14


def raced(actor: Actor, slug: str) -> int:
    """Requests of several tenants import it at the same time."""
    slugs = [slug, *(actor.slug() for _ in range(RACERS - 1))]
    start = threading.Barrier(RACERS)

    def request(name: str, of: str) -> None:
        try:
            with tenant_context(of):
                start.wait(30)
                _check(actor, of, importlib.import_module(name))
        finally:
            connections.close_all()

    with written() as name, unset_context(), ThreadPoolExecutor(RACERS) as pool:
        running = [pool.submit(request, name, of) for of in slugs]
        for one in running:
            one.result()
    return 7 * RACERS


def templates(actor: Actor, slug: str) -> int:
    """A template engine takes its tag libraries and context processors when it makes its first template."""

    def work(of: str) -> None:
        check(of, template.render(RequestContext(FACTORY.get("/"), {})))

    with written() as name:
        engine = Engine(libraries={"fresh": name}, context_processors=[f"{name}.context"])
        template = engine.from_string(TEMPLATE)
        in_both(actor, slug, work)
    return 4


OPERATIONS = {imported: 2, raced: 1, templates: 2}
