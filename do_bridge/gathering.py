"""The evaluation of several querysets in one round trip.

The functions are gather(), agather() and prefetch().
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet

from do_bridge.backends.remote_sqlite import prefetching, read_ahead

__all__ = ["agather", "gather", "prefetch"]

#: The methods of querysets and managers that gather() calls: each reads, and calling it twice does no harm.
METHODS = frozenset(
    ["aggregate", "contains", "count", "earliest", "exists", "first", "get", "in_bulk", "last", "latest"]
)


def gather(*reads: Any) -> list[Any]:
    """Evaluate querysets and calls of their methods in one round trip.

    Return the results in order. Each argument is a queryset, which is evaluated and returned as a list, or a
    method that reads, such as `posts.count` or `posts.first`. Pass arguments with
    `functools.partial(posts.get, pk=1)`. The rows stay in the cache of each queryset.

    The reads may be of several databases and tenants. They are sent together to all databases behind one
    relay. A database with an open transaction is asked in a round trip of its own, as part of the
    transaction. Databases of other engines are read one after the other. Relations of `prefetch_related()`
    are read in one further round trip for each level.

    All reads are carried out, even if some fail. Then the first error is raised, with a note that names its
    argument.
    """
    items = [_Item(number, read) for number, read in enumerate(reads, start=1)]
    for item in items:
        item.peek()
    askeds = [item.asked for item in items if item.asked is not None]
    answers = read_ahead.Answers()
    if len(askeds) > 1:
        read_ahead.ask(askeds, answers)
    with read_ahead.answering(answers):
        for item in items:
            item.finish()
    prefetching.prefetch_all([item.related for item in items if item.error is None and item.related])
    for item in items:
        item.raise_error()
    return [item.value for item in items]


async def agather(*reads: Any) -> list[Any]:
    """Do what `gather()` does, in asynchronous code."""
    return await sync_to_async(gather)(*reads)


def prefetch(rows: Any, *lookups: Any) -> None:
    """Prefetch relations of rows in one round trip for each level of the lookups.

    It takes a list of model instances of one database and lookups as Django's `prefetch_related_objects()`
    does. Tenants' models and users need no call: their `prefetch_related()` works in the same way.
    """
    prefetching.prefetch(rows, *lookups)


class _Item:
    """One argument of gather()."""

    def __init__(self, number: int, read: Any) -> None:
        self.number, self.name = number, _name(read)
        self.is_rows = isinstance(read, QuerySet | RawQuerySet)
        if not self.is_rows and not _is_method(read):
            raise TypeError(
                f"gather() got {self.name} as argument {number}. Pass querysets, and methods of querysets or "
                f"managers without calling them: {', '.join(sorted(METHODS))}. Pass a method's arguments "
                "with functools.partial()."
            )
        self.read = read
        #: The rows and lookups of a queryset that gather() has to prefetch for.
        self.related: tuple[list[Any], tuple[Any, ...]] | None = None
        self.asked: Any = None
        self.value: Any = None
        self.error: Exception | None = None

    def peek(self) -> None:
        """Find out what has to be read, if anything."""
        self.asked, self.value = self._guarded(lambda: read_ahead.peek(self._run)) or (None, None)

    def finish(self) -> None:
        """Run it with the answers at hand."""
        if self.asked is not None:
            self.value = self._guarded(self._run)

    def raise_error(self) -> None:
        if self.error is not None:
            self.error.add_note(f"It was raised by argument {self.number} of gather(), {self.name}.")
            raise self.error

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            self.error = error
            return None

    def _run(self) -> Any:
        if not self.is_rows:
            return self.read()
        lookups = self._own_lookups()
        if not lookups:
            return list(self.read)
        # As Django does it for the queryset of a Prefetch: the rows first, their relations later.
        self.read._prefetch_related_lookups = ()
        try:
            rows = list(self.read)
        finally:
            self.read._prefetch_related_lookups = lookups
        self.related, self.read._prefetch_done = (rows, lookups), True
        return rows

    def _own_lookups(self) -> Any:
        """Return the lookups of a queryset that Django would prefetch one by one.

        Return none if the queryset's class has its own prefetch, or if it has been prefetched already.
        """
        as_django = type(self.read)._prefetch_related_objects is QuerySet._prefetch_related_objects
        if not as_django or self.read._prefetch_done:
            return ()
        return self.read._prefetch_related_lookups


def _is_method(read: Any) -> bool:
    while isinstance(read, functools.partial):
        read = read.func
    owner = getattr(read, "__self__", None)
    return isinstance(owner, QuerySet | BaseManager) and getattr(read, "__name__", "") in METHODS


def _name(read: Any) -> str:
    """Return a name for messages, without values."""
    while isinstance(read, functools.partial):
        read = read.func
    owner = getattr(read, "__self__", read)
    model = getattr(owner, "model", None)
    if not isinstance(owner, QuerySet | RawQuerySet | BaseManager) or model is None:
        return f"an object of type {type(read).__name__}"
    label: str = f"{type(owner).__name__} of {model._meta.label}"
    return label if owner is read else f"{read.__name__}() of {label}"
