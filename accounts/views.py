"""The shared site's list of tenants."""

from django.core.paginator import Paginator
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import Tenant

PAGE_SIZE = 50


@require_safe
def tenant_list(request):
    tenants = Tenant.objects.all()
    query = request.GET.get("q", "").strip()
    if query:
        tenants = tenants.filter(name__icontains=query) | tenants.filter(slug__icontains=query)
    page = Paginator(tenants, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "accounts/tenant_list.html", {"page": page, "query": query})
