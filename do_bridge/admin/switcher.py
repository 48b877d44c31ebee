"""The search for tenants that the switcher offers."""

from django.db.models import Q

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.tenant_rows import has_name
from do_bridge.tenancy.tenants import tenant_model

SEARCH_LIMIT = 20
LONGEST_QUERY = 63


def matching(query):
    """Return the condition for tenants whose slug or name contains `query`."""
    condition = Q(slug__icontains=query)
    return condition | Q(name__icontains=query) if has_name(tenant_model()) else condition


def search(query):
    """Return the slugs of tenants whose slug or name contains `query`.

    Those that begin with it come first.
    """
    query = query.strip()[:LONGEST_QUERY]
    starting = list(_slugs(Q(slug__istartswith=query))[:SEARCH_LIMIT])
    others = []
    if len(starting) < SEARCH_LIMIT:
        others = _slugs(matching(query)).exclude(slug__in=starting)[: SEARCH_LIMIT - len(starting)]
    return [*starting, *others]


def _slugs(condition):
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).filter(condition)
    return tenants.order_by("slug").values_list("slug", flat=True)
