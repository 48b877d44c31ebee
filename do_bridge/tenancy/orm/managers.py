"""Binds querysets to a database when they are made: to that of their row, or of the current tenant."""

from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.db.models.options import Options, make_immutable_fields_list
from django.utils.functional import cached_property

from do_bridge.tenancy.context import current
from do_bridge.tenancy.routers import related_alias
from do_bridge.tenancy.sides import follows_context

from .aliases import BoundAlias, ContextAlias
from .importing import is_importing
from .mixing import remake
from .querysets import BoundQuerySet, bound_class, detached


def bind_managers(model):
    """Make all managers of a model bind the querysets that they make, those added later too."""
    if not isinstance(model._meta, _BoundOptions):
        model._meta.__class__ = _BoundOptions
        model._meta._expire_cache(reverse=False)


class _BoundOptions(Options):
    """The `_meta` of a model with rows in tenants' databases."""

    @cached_property
    def managers(self):
        return make_immutable_fields_list("managers", map(_bound, super().managers))

    @cached_property
    def base_manager(self):
        return _bound(super().base_manager)


def _bound(manager):
    # Not by __class__, which Python does not change for every layout of a class.
    made = remake(_BoundManager, type(manager))
    made.__dict__.update(manager.__dict__)
    return made


class _BoundManager:
    """Mixed into managers, from which Django derives those of relations."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if (base := vars(cls).get("do_bridge_base")) is not None:
            # Also for what calls Django's get_queryset() past this one.
            cls._queryset_class = bound_class(base._queryset_class)
            #: Whether nobody else can have what the manager makes.
            cls._makes_new = base.get_queryset is BaseManager.get_queryset

    def __eq__(self, other):
        # Migrations compare it with the one that they have written down.
        return isinstance(other, self.do_bridge_base) and self._constructor_args == other._constructor_args

    __hash__ = BaseManager.__hash__

    def get_queryset(self, *args, **kwargs):
        queryset = super().get_queryset(*args, **kwargs)
        if not isinstance(queryset, QuerySet):
            return queryset
        alias = queryset._db if queryset._db is not None else _bound_alias(self)
        if self._makes_new and isinstance(queryset, BoundQuerySet) and "_queryset_class" not in vars(self):
            queryset._db = queryset._query._db = alias
            return queryset
        return detached(queryset, alias)


def _bound_alias(manager):
    """Return the alias for a queryset that `manager` makes now, or None to leave it to its reader.

    Django notes the row that a queryset starts from as a hint, which clones share and anybody may add later;
    the alias of a queryset belongs to that queryset alone.
    """
    # A related manager has its row, every other manager made from a row has a hint.
    for row in (manager.__dict__.get("instance"), manager._hints.get("instance")):
        if (alias := related_alias(row, manager.model)) is not None:
            return BoundAlias(alias)
    alias = current().alias
    if alias is None or not follows_context(manager.model):
        return None
    # What a module makes while it is imported is everybody's, whoever's request imports it.
    return None if is_importing() else ContextAlias(alias)
