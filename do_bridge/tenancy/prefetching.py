"""Keeps a prefetch in the database of the rows that it is for."""

from functools import wraps

from django.db.models import query
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)

from .context import TenantMismatch, current
from .guards import guard
from .managers import detached
from .querysets import BoundAlias
from .routers import related_alias, row_alias
from .slugs import is_tenant_side

_FROM_ONE_ROW = (ForwardManyToOneDescriptor, ReverseOneToOneDescriptor)


def guard_prefetching():
    """Bind the querysets of each prefetch to the rows that it is for; may be called again.

    Django adds the first row as a hint to the very queryset that a `Prefetch` holds, and the clones of that
    queryset share the hint. A class-level `Prefetch` would carry it from one request to another.
    """
    guard(query, "prefetch_one_level", _guarded)


def _guarded(prefetch_one_level):
    @wraps(prefetch_one_level)
    def guarded(instances, prefetcher, lookup, level):
        aliases = {instance._state.db for instance in instances}
        _refuse_several(instances, aliases)
        querysets = lookup.get_current_querysets(level)
        if querysets:
            lookup = _bound_lookup(
                lookup, [_bound_queryset(queryset, instances[0]) for queryset in querysets]
            )
        elif isinstance(prefetcher, _FROM_ONE_ROW):
            # Django would make this queryset without the row, and add the row to it as a hint.
            lookup = _bound_lookup(lookup, [prefetcher.get_queryset(instance=instances[0])])
        return prefetch_one_level(instances, prefetcher, lookup, level)

    return guarded


def _refuse_several(instances, aliases):
    if len(aliases) > 1 and any(map(is_tenant_side, aliases)):
        raise TenantMismatch(
            f"Related rows were to be prefetched for {instances[0]._meta.label} rows of several databases at "
            "once, which would all get those of one. Prefetch them for each tenant by itself."
        )


def _bound_lookup(lookup, querysets):
    """Return a copy of a `Prefetch` or `GenericPrefetch` that gives these querysets at the present level."""
    # Not copy.copy(), which empties the querysets: Prefetch is made for being pickled.
    copy = type(lookup).__new__(type(lookup))
    copy.__dict__.update(lookup.__dict__)
    copy.get_current_querysets = lambda level: querysets
    if copy.queryset is not None:
        copy.queryset = querysets[0]
    return copy


def _bound_queryset(queryset, row):
    if queryset._db is None:
        alias = related_alias(row, queryset.model)
        return detached(queryset, None if alias is None else BoundAlias(alias))
    # A user of the directory is the same person in the tenant whose rows the queryset reads.
    if row_alias(row) is not None or queryset._db != current().alias:
        _refuse_other(queryset, row._state.db)
    return detached(queryset, queryset._db)


def _refuse_other(queryset, alias):
    own = queryset._db
    if alias in (None, own) or not (is_tenant_side(own) or is_tenant_side(alias)):
        return
    # What using() chose outside of the tenants is meant: the same people have the same keys everywhere.
    if isinstance(own, BoundAlias) or is_tenant_side(own) and is_tenant_side(alias):
        raise TenantMismatch(
            f"A Prefetch of {queryset.model._meta.label} made for {str(own)!r} was to be used on rows of "
            f"{str(alias)!r}. Make it in their own context, or say using({str(alias)!r})."
        )
