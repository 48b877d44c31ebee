"""Keep relations and prefetches in the database of their row.

The routers check `add()`. `remove()`, `set()` and `contains()` use only keys, which are other rows' in
another tenant. Django's prefetch adds its first row as a hint to the queryset of the `Prefetch`, and a
class-level `Prefetch` would carry the hint from one request to another.
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
from do_bridge.tenancy.replicated.users import as_directory_row, is_full, is_user, may_cross, refuse_stray
from do_bridge.tenancy.routers import related_alias, row_alias
from do_bridge.tenancy.sides import follows_context
from do_bridge.tenancy.slugs import is_tenant_side

from .aliases import BoundAlias, involve_tenants, is_chosen
from .mixing import mixed, subclass
from .querysets import detached
from .rows import in_scope_of


def bind_relations(model, is_bound):
    """Add the checks to a model's relations.

    `is_bound(model)` returns whether a model has rows in tenants. Each end of a relation is bound on the
    model that has it as an attribute.
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
            # Generic keys refer to rows of any model, tenant models included.
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
    """A mixin for the descriptors of relations to one row."""

    def get_prefetch_querysets(self, instances, querysets=None):
        _refuse_several(instances)
        querysets = _for_rows(instances, querysets) or [self.get_queryset(instance=instances[0])]
        return super().get_prefetch_querysets(instances, querysets)


class _ReverseOne(_FromOneRow):
    def __get__(self, instance, cls=None):
        # A row of D1 must not cache one tenant's row for another tenant.
        if instance is not None and row_alias(instance) is None:
            kept, scope = self.related.get_cached_value(instance, default=None), current()
            alias = row_alias(kept) if kept is not None else None
            if alias is not None and scope.alias not in (None, alias):
                self.related.delete_cached_value(instance)
        return super().__get__(instance, cls)


class _ToMany:
    """A mixin for the descriptors of relations to several rows."""

    @cached_property
    def related_manager_cls(self):
        return _related_class(super().related_manager_cls)


class _GenericKey:
    """A mixin for generic foreign keys."""

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
                    f"{instance._meta.label}.{name}: the given row was loaded from {str(alias)!r}, but this "
                    f"row belongs to {str(own or conf('DIRECTORY_ALIAS'))!r}. Both rows of a relation must "
                    "be in one database. Load the given row from there."
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
    """A mixin for the managers of relations."""

    def __call__(self, *, manager):
        made = super().__call__(manager=manager)
        made.__class__ = _related_class(type(made))
        return made

    def _apply_rel_filters(self, queryset):
        # For a Prefetch this is its shared queryset, and the rows have been read already.
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
            f"Related rows can't be prefetched for {instances[0]._meta.label} rows of several databases, "
            "because one query runs on one database. Call prefetch_related_objects() once for each tenant."
        )


def _for_rows(instances, querysets):
    return [_for_row(queryset, instances[0]) for queryset in querysets] if querysets else None


def _for_row(queryset, row):
    """Return the queryset on the database of the row's related rows.

    It may be a copy.
    """
    own = queryset._db
    if own is None:
        alias = related_alias(row, queryset.model)
        return detached(queryset, None if alias is None else BoundAlias(alias))
    # A user of D1 is the same person in the tenant whose rows the queryset reads.
    if row_alias(row) is not None or own != current().alias:
        _refuse_other(queryset, own, row._state.db)
    return queryset


def _refuse_other(queryset, own, alias):
    if alias is None or not involve_tenants(own, alias):
        return
    # using() with an alias outside the tenants is deliberate, because users have the same keys everywhere.
    if not is_chosen(own) or is_tenant_side(own) and is_tenant_side(alias):
        raise TenantMismatch(
            f"A Prefetch of {queryset.model._meta.label} was made for {str(own)!r} and can't be used on rows "
            f"of {str(alias)!r}. Make it inside that tenant, or choose using({str(alias)!r})."
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
                f"A {obj._meta.label} row of {other!r} can't be related to a row of {own!r}, where its key "
                f"may be another row's. Load it from {own!r}, or pass its primary key."
            )
