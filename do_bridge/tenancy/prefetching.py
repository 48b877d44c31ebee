"""Refuses a prefetch that leads out of the tenant of the rows that it is for, or is for several tenants."""

from functools import wraps

from django.db.models import query

from .context import TenantMismatch
from .slugs import is_tenant_side


def guard_prefetching():
    """Make Django ask here before each prefetch; may be called again.

    Django follows the queryset of an explicit `Prefetch` wherever it leads, and joins its rows by their keys:
    one that was made while another tenant was current would hang that tenant's rows on these. And it asks
    where the first row came from, for all of them.
    """
    if not hasattr(query.prefetch_one_level, "__wrapped__"):
        query.prefetch_one_level = _guarded(query.prefetch_one_level)


def _guarded(prefetch_one_level):
    @wraps(prefetch_one_level)
    def guarded(instances, prefetcher, lookup, level):
        aliases = {instance._state.db for instance in instances}
        _refuse_several(instances, aliases)
        for queryset in lookup.get_current_querysets(level) or ():
            _refuse_others(aliases, queryset)
        return prefetch_one_level(instances, prefetcher, lookup, level)

    return guarded


def _refuse_several(instances, aliases):
    if len(aliases) > 1 and any(map(is_tenant_side, aliases)):
        raise TenantMismatch(
            f"Related rows were to be prefetched for {instances[0]._meta.label} rows of several databases at "
            "once, which would all get those of one. Prefetch them for each tenant by itself."
        )


def _refuse_others(aliases, queryset):
    alias = queryset._db
    if alias is None or not is_tenant_side(alias):
        return
    for other in aliases - {None, alias}:
        if is_tenant_side(other):
            raise TenantMismatch(
                f"A Prefetch of {queryset.model._meta.label} made for {alias!r} was to be used on rows of "
                f"{other!r}. Make it in their own context, or say using({other!r})."
            )
