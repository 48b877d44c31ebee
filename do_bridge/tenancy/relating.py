"""Refuses to take another tenant's row for the related one, or the member of a query, of the same key."""

from functools import wraps

from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.fields import related_descriptors

from .context import TenantMismatch
from .guards import guard
from .people import may_cross, refuse_stray
from .querysets import BoundAlias, refuse_relation
from .slugs import is_tenant_side


def guard_relating():
    """Make Django ask here before `remove()`, `set()` and `contains()`; may be called again.

    It asks the routers before `add()`; these three go by keys alone, which in another tenant are other rows'.
    """
    guard(QuerySet, "contains", _guarded_contains)
    for name in ("create_reverse_many_to_one_manager", "create_forward_many_to_many_manager"):
        guard(related_descriptors, name, _guarded_manager)
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes import fields

        guard(fields, "create_generic_related_manager", _guarded_manager)


def _guarded_contains(contains):
    @wraps(contains)
    def guarded(self, obj):
        # Whoever says `using` compares keys on purpose.
        if isinstance(self._db, BoundAlias) and isinstance(obj, Model) and is_tenant_side(obj._state.db):
            refuse_relation(self, "contains()", obj)
        return contains(self, obj)

    return guarded


def _guarded_manager(create):
    @wraps(create)
    def guarded(*args, **kwargs):
        made = create(*args, **kwargs)
        made.set = _guarded_set(made.set)
        # A relation that can't be empty has none.
        if hasattr(made, "remove"):
            made.remove = _guarded_remove(made.remove)
        return made

    return guarded


# Each keeps its method's attributes: templates may not call it.


def _guarded_set(method):
    @wraps(method)
    def guarded(self, objs, **kwargs):
        objs = tuple(objs)
        _refuse_others(self, objs)
        return method(self, objs, **kwargs)

    return guarded


def _guarded_remove(method):
    @wraps(method)
    def guarded(self, *objs, **kwargs):
        _refuse_others(self, objs)
        return method(self, *objs, **kwargs)

    return guarded


def _refuse_others(manager, objs):
    own = manager.instance._state.db
    for obj in objs:
        other = obj._state.db if isinstance(obj, Model) else None
        if None in (own, other):
            continue
        refuse_stray(manager.instance, obj)
        if own == other or may_cross(manager.instance, obj):
            continue
        if is_tenant_side(own) or is_tenant_side(other):
            raise TenantMismatch(
                f"A {obj._meta.label} of {other!r} was to be taken for that of {own!r} with the same key, "
                f"which may be another row. Read it from {own!r}, or go by its key."
            )
