"""Binds the querysets of tenant models to the tenant that is current when they are made."""

from django.apps import apps

from .context import current
from .querysets import BoundAlias
from .routers import is_context_model, is_tenant_model
from .slugs import is_tenant_side


class BindsTenant:
    """Mixed into a tenant model's managers: a lazy queryset keeps its tenant, wherever it is read later."""

    _unbound_class = None

    def __eq__(self, other):
        # Migrations know the manager as its own class made it, and must not see a change.
        return isinstance(other, self._unbound_class) and self._constructor_args == other._constructor_args

    __hash__ = object.__hash__

    def get_queryset(self):
        queryset = super().get_queryset()
        if queryset._db is None and (alias := self._bound_alias(queryset)) is not None:
            queryset._db = BoundAlias(alias)
        return queryset

    def _bound_alias(self, queryset):
        # A related manager starts from an instance, which says where it lives more surely than the context.
        for instance in (getattr(self, "instance", None), queryset._hints.get("instance")):
            alias = getattr(getattr(instance, "_state", None), "db", None)
            if alias is not None and is_tenant_side(alias):
                return alias
        # None while no tenant is current: the router refuses when the queryset is read, if still none is.
        return current().alias


def bind_managers():
    """Make the managers of every tenant model, Django's own and third parties' too, bind their querysets."""
    for model in apps.get_models(include_auto_created=True):
        if not (is_tenant_model(model) or is_context_model(model)):
            continue
        for manager in [*model._meta.local_managers, *model._meta.managers, model._meta.base_manager]:
            if not isinstance(manager, BindsTenant):
                manager.__class__ = _binding_class(type(manager))
        # Descriptors of the model read the manager from this map, so it has to hold the changed ones.
        model._meta.__dict__.pop("managers_map", None)


def _binding_class(manager_class):
    """Return a binding subclass; it keeps the name, by which migrations write a manager down."""
    return type(
        manager_class.__name__,
        (BindsTenant, manager_class),
        {
            "__module__": manager_class.__module__,
            "__qualname__": manager_class.__qualname__,
            "_unbound_class": manager_class,
        },
    )
