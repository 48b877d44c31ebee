"""Pages that show the shop: generic views with class-level querysets, and functions."""

import importlib

from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.generic import DetailView, ListView

from tests.leak.shop.catalogue import (
    CATEGORIES,
    DISCUSSED,
    ITEMS,
    REMEMBERED,
    SHOWN,
    WITH_LABELS,
    named,
)
from tests.leak.shop.models import Category, Item, Label


class Items(ListView):
    queryset = Item.objects.order_by("pk").prefetch_related(
        Prefetch("category", queryset=Category.objects.only("name")),
        Prefetch("labels", queryset=Label.objects.order_by("pk")),
    )
    paginate_by = 6
    template_name = "shop/items.html"


class ItemDetail(DetailView):
    queryset = Item.objects.select_related("category").prefetch_related(WITH_LABELS, "comments")
    template_name = "shop/item.html"


class CategoryDetail(DetailView):
    model = Category
    template_name = "shop/category.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(items=SHOWN.filter(category=self.object), **kwargs)


class Categories(ListView):
    model = Category
    ordering = "pk"
    template_name = "shop/categories.html"


def categories(request):
    """Show the categories, which other pages' prefetches use, too."""
    return render(request, "shop/categories.html", {"object_list": CATEGORIES.all()})


def one(request, pk):
    """Show one item by shortcuts."""
    item = get_object_or_404(ITEMS, pk=pk)
    return HttpResponse(f"{item.name} {item.category.name} {named(pk)}")


def discussed(request):
    """Show comments with what they are about."""
    lines = [f"{comment.text} {comment.target}" for comment in DISCUSSED]
    return HttpResponse("\n".join(lines))


def remembered(request, how):
    """Show a module's queryset that is used as it is."""
    rows = REMEMBERED[how]
    return HttpResponse("\n".join(row.name for row in rows))


def lazy(request, name):
    """Hand over to a module that this process may not have imported yet."""
    importlib.invalidate_caches()  # it was written a moment ago
    return importlib.import_module(name).view(request)
