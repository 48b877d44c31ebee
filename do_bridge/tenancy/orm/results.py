"""Keeps the rows of a queryset that follows the context apart by context, however long it lives.

A queryset at module level belongs to no tenant and is shared by threads. Django stores the rows of its first
reader in it, for all later ones.
"""

from django.db.models import QuerySet

from do_bridge.tenancy.context import current_block
from do_bridge.tenancy.sides import follows_context

from .aliases import ContextAlias, refuse_reading

if "_result_cache" not in vars(QuerySet()):
    raise RuntimeError("QuerySet of this Django keeps its rows elsewhere than in _result_cache.")


class ResultsByContext:
    """Part of a queryset, before Django's own."""

    @property
    def _result_cache(self):
        results = _results(self)
        if results is None:
            rows = self.__dict__.get("_result_cache")
            if rows is not None:
                refuse_reading(self)
            return rows
        twin = results.get(self)
        return None if twin is None else twin._result_cache

    @_result_cache.setter
    def _result_cache(self, rows):
        values = self.__dict__
        # Django clears each new queryset, which has nothing to forget.
        results = _results(self) if "_result_cache" in values else None
        if results is None or rows is None:
            values["_result_cache"] = rows
        if results is not None:
            if rows is None:
                results.pop(self, None)
            else:
                _twin(self, results)._result_cache = rows

    def _fetch_all(self):
        results = _results(self)
        if results is None:
            super()._fetch_all()
        else:
            _twin(self, results)._fetch_all()


def _results(queryset):
    """Return {queryset: bound copy} of the current context, None for one that keeps its own rows."""
    values = queryset.__dict__
    # It has no model while Django copies it.
    if values["_db"] is not None or values["model"] is None:
        return None
    block = current_block()
    if block is None or block.scope.alias is None:
        return None
    return block.results if follows_context(values["model"]) else None


def _twin(queryset, results):
    twin = results.get(queryset)
    if twin is None:
        twin = results.setdefault(queryset, queryset.using(ContextAlias(current_block().scope.alias)))
    return twin
