"""The search page, as in Wagtail's project template."""

from django.core.paginator import Paginator
from django.shortcuts import render
from wagtail.contrib.search_promotions.models import Query
from wagtail.models import Page


def search(request):
    """Find pages; count the query, as the template's view does."""
    text = request.GET.get("query", "")
    results = Page.objects.live().search(text) if text else Page.objects.none()
    query = Query.get(text)
    if text:
        query.add_hit()
    page = Paginator(results, 10).get_page(request.GET.get("page", 1))
    promoted = query.editors_picks.all() if text else []
    return render(request, "site_wagtail/search.html", {"text": text, "results": page, "promoted": promoted})
