"""Cache the rows of a shared queryset separately for each context.

A module-level queryset belongs to no tenant and is shared by threads. Django would cache the rows of its
first reader for all later readers.
"""

from django.db.models import QuerySet

from do_bridge.tenancy.context import current_block
from do_bridge.tenancy.sides import follows_context

from .aliases import ContextAlias, refuse_reading

if "_result_cache" not in vars(QuerySet()):
    raise RuntimeError(
        "do_bridge overrides QuerySet._result_cache, which this version of Django does not have. Install a "
        "version of Django that do_bridge supports."
    )


class ResultsByContext:
    """A mixin for querysets that caches rows in the context's block."""

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
        # A new queryset has nothing to clear.
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
    """Return {queryset: bound copy} of the current context, or None.

    None means that the queryset caches its own rows.
    """
    values = queryset.__dict__
    # The model is None while Django copies the queryset.
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
