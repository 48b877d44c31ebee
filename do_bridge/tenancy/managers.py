"""Binds querysets to a database when they are made: to that of their row, or of the current tenant."""

from functools import wraps

from django.apps import apps
from django.db.models import QuerySet
from django.db.models.manager import BaseManager

from .context import current
from .guards import guard
from .importing import is_importing
from .querysets import BoundAlias, ContextAlias, compare_keys
from .routers import is_context_model, is_tenant_model, related_alias


def bind_managers():
    """Make all managers, Django's own and third parties' too, bind the querysets that they make."""
    guard(BaseManager, "get_queryset", _binding)
    for model in apps.get_models(include_auto_created=True):
        for manager in [*model._meta.local_managers, *model._meta.managers, model._meta.base_manager]:
            for owner in type(manager).__mro__:
                # Such a method may make a queryset of its own, or keep one.
                if "get_queryset" in vars(owner):
                    guard(owner, "get_queryset", _binding)


def detached(queryset, alias):
    """Return an unread copy of the queryset that runs on `alias`, or where the routers say if that is None.

    Nothing that is added to the copy later reaches the given queryset, which others may keep and share.
    """
    copy = QuerySet.__new__(type(queryset))
    copy.__dict__.update(queryset.__dict__)
    copy._db = alias
    copy._hints = {} if alias is None else dict(queryset._hints)
    copy._result_cache = None
    copy._prefetch_done = False
    copy._for_write = False
    return copy


def _binding(get_queryset):
    @wraps(get_queryset)
    def binding(self, *args, **kwargs):
        queryset = get_queryset(self, *args, **kwargs)
        # A mixin may give the method to views and admins too.
        if not isinstance(self, BaseManager) or not isinstance(queryset, QuerySet):
            return queryset
        if queryset._db is None:
            alias = _bound_alias(self)
            return queryset if alias is None else detached(queryset, alias)
        if not isinstance(queryset._db, BoundAlias):
            compare_keys(queryset)
        return queryset

    return binding


def _bound_alias(manager):
    """Return the alias for a queryset that `manager` makes now, or None to leave it to its reader.

    Django notes the row that a queryset starts from as a hint, which clones share and anybody may add later;
    the alias of a queryset belongs to that queryset alone.
    """
    # A related manager has its row, every other manager made from a row has a hint.
    for row in (vars(manager).get("instance"), manager._hints.get("instance")):
        if (alias := related_alias(row, manager.model)) is not None:
            return BoundAlias(alias)
    alias = current().alias
    if alias is None or not (is_tenant_model(manager.model) or is_context_model(manager.model)):
        return None
    # What a module makes while it is imported is everybody's, whoever's request imports it.
    return None if is_importing() else ContextAlias(alias)
