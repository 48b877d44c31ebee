"""Binds querysets to a database when they are made: to that of their row, or of the current tenant."""

from django.apps import apps
from django.db.models import QuerySet

from .context import current
from .importing import is_importing
from .querysets import BoundAlias, ContextAlias, compare_keys
from .routers import is_context_model, is_tenant_model, row_alias


class FollowsRow:
    """Mixed into every manager: a queryset that starts from a tenant's row stays in that tenant.

    Django notes the row as a hint, which clones share and anybody may add later. The alias of a queryset
    belongs to that queryset alone.
    """

    _unbound_class = None

    def __eq__(self, other):
        # Migrations know the manager as its own class made it, and must not see a change.
        return isinstance(other, self._unbound_class) and self._constructor_args == other._constructor_args

    __hash__ = object.__hash__

    def get_queryset(self):
        queryset = super().get_queryset()
        if queryset._db is None:
            alias = self._bound_alias()
            return queryset if alias is None else detached(queryset, alias)
        if not isinstance(queryset._db, BoundAlias):
            compare_keys(queryset)
        return queryset

    def _bound_alias(self):
        # A related manager has its row, every other manager made from a row has a hint.
        for row in (getattr(self, "instance", None), self._hints.get("instance")):
            if (alias := row_alias(row)) is not None:
                return BoundAlias(alias)
        return None


class BindsTenant(FollowsRow):
    """Mixed into a tenant model's managers: a lazy queryset keeps its tenant, and no other one reads it."""

    def _bound_alias(self):
        alias = super()._bound_alias()
        if alias is not None:
            return alias
        alias = current().alias
        # What a module makes while it is imported is everybody's, whoever's request imports it.
        return None if alias is None or is_importing() else ContextAlias(alias)


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


def bind_managers():
    """Make the managers of every model, Django's own and third parties' too, bind their querysets."""
    for model in apps.get_models(include_auto_created=True):
        mixin = BindsTenant if is_tenant_model(model) or is_context_model(model) else FollowsRow
        for manager in [*model._meta.local_managers, *model._meta.managers, model._meta.base_manager]:
            if not isinstance(manager, mixin):
                manager.__class__ = _binding_class(mixin, type(manager))
        # Descriptors of the model read the manager from this map, so it has to hold the changed ones.
        model._meta.__dict__.pop("managers_map", None)


def _binding_class(mixin, manager_class):
    """Return a binding subclass; it keeps the name, by which migrations write a manager down."""
    unbound = getattr(manager_class, "_unbound_class", None) or manager_class
    return type(
        unbound.__name__,
        (mixin, unbound),
        {
            "__module__": unbound.__module__,
            "__qualname__": unbound.__qualname__,
            "_unbound_class": unbound,
        },
    )
