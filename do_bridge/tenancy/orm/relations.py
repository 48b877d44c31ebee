"""Keeps relations in the database of their row: what is prefetched, and which rows stand for which keys.

Django asks the routers before `add()`. `remove()`, `set()` and `contains()` go by keys alone, which are other
rows' in another tenant. A prefetch adds its first row as a hint to the very queryset that a `Prefetch` holds,
and a class-level `Prefetch` would carry that from one request to another.
"""

from django.db.models import Model
from django.db.models.fields.related import lazy_related_operation
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)
from django.utils.functional import cached_property

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import TenantMismatch, current
from do_bridge.tenancy.people import as_directory_row, is_full, is_user, may_cross, refuse_stray
from do_bridge.tenancy.routers import follows_context, related_alias, row_alias
from do_bridge.tenancy.slugs import is_tenant_side

from .aliases import BoundAlias, involve_tenants, is_chosen
from .mixing import mixed, subclass
from .querysets import detached
from .rows import in_scope_of


def bind_relations(model, is_bound):
    """Let the relations of a model check; `is_bound(model)` says which models have rows in tenants.

    Of a relation between two models, each end belongs to the model that has it as an attribute.
    """
    fields = [*model._meta.local_fields, *model._meta.local_many_to_many]
    for field in fields:
        if field.remote_field is not None:
            lazy_related_operation(_bind_ends, model, field.remote_field.model, field=field, rule=is_bound)
    if is_bound(model):
        for field in [*fields, *model._meta.private_fields]:
            _bind(model, field.name)
    else:
        for field in model._meta.private_fields:
            # Generic keys lead to rows of any model, tenants' too.
            if not isinstance(vars(model).get(field.name), ReverseManyToOneDescriptor):
                _bind(model, field.name)


def _bind_ends(model, related, field, rule):
    if not (rule(model) or rule(related)):
        return
    if field.many_to_many:
        _bind(model, field.name)
    if name := field.remote_field.get_accessor_name():
        _bind(related._meta.concrete_model, name)


def _bind(owner, name):
    descriptor = vars(owner).get(name)
    for base, mixin in _MIXINS.items():
        if isinstance(descriptor, base):
            descriptor.__class__ = mixed(mixin, type(descriptor))
            vars(descriptor).pop("related_manager_cls", None)
            return
    if hasattr(descriptor, "get_prefetch_querysets") and hasattr(descriptor, "__set__"):
        descriptor.__class__ = mixed(_GenericKey, type(descriptor))


class _FromOneRow:
    """Mixed into the descriptors of relations to one row."""

    def get_prefetch_querysets(self, instances, querysets=None):
        _refuse_several(instances)
        querysets = _for_rows(instances, querysets) or [self.get_queryset(instance=instances[0])]
        return super().get_prefetch_querysets(instances, querysets)


class _ReverseOne(_FromOneRow):
    def __get__(self, instance, cls=None):
        # A row of the directory keeps no tenant's row for another tenant.
        if instance is not None and row_alias(instance) is None:
            kept, scope = self.related.get_cached_value(instance, default=None), current()
            alias = row_alias(kept) if kept is not None else None
            if alias is not None and scope.alias not in (None, alias):
                self.related.delete_cached_value(instance)
        return super().__get__(instance, cls)


class _ToMany:
    """Mixed into the descriptors of relations to several rows."""

    @cached_property
    def related_manager_cls(self):
        return _related_class(super().related_manager_cls)


class _GenericKey:
    """Mixed into generic foreign keys."""

    def get_prefetch_querysets(self, instances, querysets=None):
        _refuse_several(instances)
        querysets = _for_rows(instances, querysets)
        return in_scope_of(instances[0], super().get_prefetch_querysets, instances, querysets)

    def __set__(self, instance, value):
        alias = row_alias(value) if value is not None else None
        if alias is not None and is_tenant_side(alias):
            own = instance._state.db or (current().alias if follows_context(instance.__class__) else None)
            if own in (None, conf("DIRECTORY_ALIAS")) and is_user(value) and is_full(value):
                value = as_directory_row(value)
            elif own != alias:
                name = getattr(self, "field", self).name
                raise TenantMismatch(
                    f"{instance._meta.label}.{name}: the given row is from {str(alias)!r}, and this row "
                    f"belongs to {str(own or 'the shared database')!r}. A relation stays in one database."
                )
        super().__set__(instance, value)


_MIXINS = {
    ForwardManyToOneDescriptor: _FromOneRow,
    ReverseOneToOneDescriptor: _ReverseOne,
    ReverseManyToOneDescriptor: _ToMany,
}


def _related_class(manager_class):
    # Some relations have no remove(), and those of many-to-many fields have set_base() since Django 6.1.
    mixins = [
        mixin
        for name, mixin in (("remove", _Removing), ("set_base", _SettingRaw))
        if hasattr(manager_class, name)
    ]
    for mixin in (_Related, *mixins):
        manager_class = subclass(mixin, manager_class)
    return manager_class


class _Related:
    """Mixed into the managers of relations."""

    def __call__(self, *, manager):
        made = super().__call__(manager=manager)
        made.__class__ = _related_class(type(made))
        return made

    def _apply_rel_filters(self, queryset):
        # Of a Prefetch this is the shared queryset, for rows that have been read already.
        return super()._apply_rel_filters(_for_row(queryset, self.instance))

    def get_prefetch_querysets(self, instances, querysets=None):
        _refuse_several(instances)
        return super().get_prefetch_querysets(instances, _for_rows(instances, querysets))

    def set(self, objs, **kwargs):
        objs = tuple(objs)
        _refuse_others(self.instance, objs)
        return super().set(objs, **kwargs)

    set.alters_data = True


class _Removing:
    """Mixed into the managers of relations that rows can leave."""

    def remove(self, *objs, **kwargs):
        _refuse_others(self.instance, objs)
        return super().remove(*objs, **kwargs)

    remove.alters_data = True


class _SettingRaw:
    """Mixed into the managers of relations that a fixture sets past `set()`."""

    def set_base(self, objs, **kwargs):
        objs = tuple(objs)
        _refuse_others(self.instance, objs)
        return super().set_base(objs, **kwargs)

    set_base.alters_data = True


def _refuse_several(instances):
    if involve_tenants(*(instance._state.db for instance in instances)):
        raise TenantMismatch(
            f"Related rows were to be prefetched for {instances[0]._meta.label} rows of several databases at "
            "once, which would all get those of one. Prefetch them for each tenant by itself."
        )


def _for_rows(instances, querysets):
    return [_for_row(queryset, instances[0]) for queryset in querysets] if querysets else None


def _for_row(queryset, row):
    """Return the queryset, or a copy of it, in the database of what is related to the row."""
    own = queryset._db
    if own is None:
        alias = related_alias(row, queryset.model)
        return detached(queryset, None if alias is None else BoundAlias(alias))
    # A user of the directory is the same person in the tenant whose rows the queryset reads.
    if row_alias(row) is not None or own != current().alias:
        _refuse_other(queryset, own, row._state.db)
    return queryset


def _refuse_other(queryset, own, alias):
    if alias is None or not involve_tenants(own, alias):
        return
    # What using() chose outside of the tenants is meant: the same people have the same keys everywhere.
    if not is_chosen(own) or is_tenant_side(own) and is_tenant_side(alias):
        raise TenantMismatch(
            f"A Prefetch of {queryset.model._meta.label} made for {str(own)!r} was to be used on rows of "
            f"{str(alias)!r}. Make it in their own context, or say using({str(alias)!r})."
        )


def _refuse_others(row, objs):
    own = row._state.db
    for obj in objs:
        other = obj._state.db if isinstance(obj, Model) else None
        if None in (own, other):
            continue
        refuse_stray(row, obj)
        if involve_tenants(own, other) and not may_cross(row, obj):
            raise TenantMismatch(
                f"A {obj._meta.label} of {other!r} was to be taken for that of {own!r} with the same key, "
                f"which may be another row. Read it from {own!r}, or go by its key."
            )
