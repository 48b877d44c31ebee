"""Keeps the rows of a queryset that follows the context apart by context, however long it lives.

A queryset at module level belongs to no tenant and is shared by threads. Django stores the rows of its first
reader in it, for all later ones.
"""

from functools import wraps

from django.db.models import QuerySet

from .context import current_block
from .guards import guard
from .querysets import ContextAlias, refuse_reading
from .routers import is_context_model, is_tenant_model


class _ResultCache:
    """Stands for `QuerySet._result_cache`: the rows that were read in the current context."""

    def __get__(self, queryset, owner=None):
        if queryset is None:
            return self
        results = _results(queryset)
        if results is None:
            rows = queryset.__dict__.get("_result_cache")
            if rows is not None:
                refuse_reading(queryset)
            return rows
        twin = results.get(queryset)
        return None if twin is None else twin._result_cache

    def __set__(self, queryset, rows):
        values = queryset.__dict__
        # Django clears each new queryset, which has nothing to forget.
        results = _results(queryset) if "_result_cache" in values else None
        if results is None or rows is None:
            values["_result_cache"] = rows
        if results is not None:
            if rows is None:
                results.pop(queryset, None)
            else:
                _twin(queryset, results)._result_cache = rows


def guard_results():
    """Keep rows by context for querysets of tenants' models that no database was chosen for."""
    if "_result_cache" not in vars(QuerySet()):
        raise RuntimeError("QuerySet of this Django keeps its rows elsewhere than in _result_cache.")
    guard(QuerySet, "_result_cache", lambda present: _ResultCache())
    guard(QuerySet, "_fetch_all", _fetching_apart)


def _fetching_apart(fetch_all):
    @wraps(fetch_all)
    def fetching(self):
        results = _results(self)
        if results is None:
            return fetch_all(self)
        return _twin(self, results)._fetch_all()

    return fetching


def _results(queryset):
    """Return {queryset: bound copy} of the current context, or None if the queryset keeps its own rows."""
    values = queryset.__dict__
    if values["_db"] is not None:
        return None
    block = current_block()
    if block is None or block.scope.alias is None:
        return None
    model = values["model"]
    if model is None:  # while Django copies a queryset
        return None
    return block.results if is_tenant_model(model) or is_context_model(model) else None


def _twin(queryset, results):
    twin = results.get(queryset)
    if twin is None:
        twin = queryset._chain()
        twin._db = ContextAlias(current_block().scope.alias)
        twin = results.setdefault(queryset, twin)
    return twin
