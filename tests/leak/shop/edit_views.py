"""Pages that change the shop: Django's generic edit views, and formsets."""

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.views.generic import CreateView, DeleteView, FormView, UpdateView

from tests.leak.shop.catalogue import CATEGORIES, ITEMS, SHOWN
from tests.leak.shop.forms import CategoryItemFormSet, ItemForm, SearchForm
from tests.leak.shop.models import Category, Item


class CreateItem(CreateView):
    model = Item
    form_class = ItemForm
    template_name = "shop/form.html"
    success_url = "../{id}/"


class UpdateItem(UpdateView):
    queryset = Item.objects.select_related("category")
    form_class = ItemForm
    template_name = "shop/form.html"
    success_url = "../"


class DeleteItem(DeleteView):
    queryset = ITEMS
    template_name = "shop/form.html"
    success_url = "../../"


class UpdateCategory(UpdateView):
    model = Category
    fields = ["name", "notes"]
    template_name = "shop/form.html"
    success_url = "../"


class Search(FormView):
    form_class = SearchForm
    template_name = "shop/form.html"

    def form_valid(self, form):
        items = SHOWN.all()
        if category := form.cleaned_data["category"]:
            items = items.filter(category=category)
        if labels := form.cleaned_data["labels"]:
            items = items.filter(labels__in=labels).distinct()
        return HttpResponse("\n".join(f"{item.name} {item.category.name}" for item in items))


def category_items(request, pk):
    """Change all items of a category."""
    category = get_object_or_404(CATEGORIES, pk=pk)
    formset = CategoryItemFormSet(request.POST or None, instance=category)
    if formset.is_valid():
        formset.save()
        return HttpResponseRedirect("../")
    return render(request, "shop/form.html", {"form": formset, "object": category})
