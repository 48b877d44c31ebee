"""Keeps what Django does with a row, outside of querysets, in the database that the row came from."""

from functools import wraps

from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.fields.files import FieldFile
from django.db.models.fields.related_descriptors import ReverseOneToOneDescriptor

from .conf import conf
from .context import Scope, TenantMismatch, current, scope_context
from .guards import guard
from .managers import detached
from .people import as_directory_row, is_full, is_user
from .querysets import BoundAlias, ContextAlias
from .routers import check_same_tenant, is_context_model, is_tenant_model, row_alias
from .slugs import alias_slug, is_tenant_side


def guard_rows():
    """Wrap the methods of rows, files, content types and deletions; may be called again."""
    guard(Model, "_get_next_or_previous_in_order", _reading)
    for model in apps.get_models():
        guard_order(model)
    for name in ("file", "path", "url", "size", "open"):
        guard(FieldFile, name, _reading_file)
    for name in ("save", "delete"):
        guard(FieldFile, name, _writing_file)
    guard(ReverseOneToOneDescriptor, "__get__", _forgetting)
    guard(Collector, "collect", _collecting)
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes.fields import GenericForeignKey
        from django.contrib.contenttypes.models import ContentType

        guard(ContentType, "get_object_for_this_type", _getting)
        guard(ContentType, "get_all_objects_for_this_type", _getting_all)
        guard(GenericForeignKey, "__set__", _assigning)


def guard_order(model):
    """Wrap the methods that `order_with_respect_to` of a model, if it has any, gives to the other model."""
    if (field := model._meta.order_with_respect_to) is not None:
        owner, name = field.remote_field.model, model.__name__.lower()
        guard(owner, f"get_{name}_order", _reading)
        guard(owner, f"set_{name}_order", _writing)


def _in_scope_of(row, method, *args, **kwargs):
    """Call a method while the tenant that the row came from is current."""
    alias = row_alias(row)
    slug = alias_slug(alias) if alias is not None else None
    if slug is None or current().alias == alias:
        return method(*args, **kwargs)
    with scope_context(Scope(slug, str(alias))):
        return method(*args, **kwargs)


def _reading(method):
    @wraps(method)
    def reading(self, *args, **kwargs):
        found = _in_scope_of(self, method, self, *args, **kwargs)
        # It belongs to the row, not to the context in which it was made just now.
        is_lazy = isinstance(found, QuerySet) and isinstance(found._db, ContextAlias)
        return detached(found, BoundAlias(found._db)) if is_lazy else found

    return reading


def _writing(method):
    @wraps(method)
    def writing(self, *args, **kwargs):
        _refuse_writing(self)
        return _in_scope_of(self, method, self, *args, **kwargs)

    return writing


def _reading_file(method):
    @wraps(method)
    def reading(self, *args, **kwargs):
        return _in_scope_of(self.instance, method, self, *args, **kwargs)

    return reading


def _writing_file(method):
    @wraps(method)
    def writing(self, *args, **kwargs):
        _refuse_writing(self.instance)
        return _in_scope_of(self.instance, method, self, *args, **kwargs)

    return writing


def _refuse_writing(row):
    if (alias := row_alias(row)) is not None:
        check_same_tenant(alias, row.__class__)


def _forgetting(get):
    """Return a `__get__` that keeps no tenant's row on a row of the directory for another tenant."""

    @wraps(get)
    def forgetting(self, instance, cls=None):
        if instance is not None and row_alias(instance) is None:
            kept, scope = self.related.get_cached_value(instance, default=None), current()
            alias = row_alias(kept) if kept is not None else None
            if alias is not None and scope.alias not in (None, alias):
                self.related.delete_cached_value(instance)
        return get(self, instance, cls)

    return forgetting


def _collecting(collect):
    @wraps(collect)
    def collecting(self, objs, *args, **kwargs):
        # The origin is a row or queryset that was told to delete itself, and has been asked already.
        if self.origin is None and isinstance(objs, list | tuple | set):
            for row in objs:
                other = row._state.db if isinstance(row, Model) else None
                if None not in (other, self.using) and other != self.using:
                    _refuse_deleting(row, other, self.using)
        return collect(self, objs, *args, **kwargs)

    return collecting


def _refuse_deleting(row, other, using):
    if is_tenant_side(other) or is_tenant_side(using):
        raise TenantMismatch(
            f"A {row._meta.label} of {str(other)!r} was to be deleted from {str(using)!r}, where its key may "
            f"be another row's. Make the Collector with using={str(other)!r}."
        )


def _getting(get):
    @wraps(get)
    def getting(self, using=None, **kwargs):
        return get(self, using=using or row_alias(self), **kwargs)

    return getting


def _getting_all(get_all):
    @wraps(get_all)
    def getting_all(self, *args, **kwargs):
        alias = row_alias(self)
        if alias is None or args or "using" in kwargs:
            return get_all(self, *args, **kwargs)
        return self.model_class()._base_manager.using(alias).filter(**kwargs)

    return getting_all


def _assigning(assign):
    """Return a `__set__` of a generic foreign key that keeps both rows in one database, as others do."""

    @wraps(assign)
    def assigning(self, instance, value):
        alias = row_alias(value) if value is not None else None
        if alias is not None and is_tenant_side(alias):
            own = instance._state.db or (current().alias if _may_live_with_tenants(instance) else None)
            if own in (None, conf("DIRECTORY_ALIAS")) and is_user(value) and is_full(value):
                value = as_directory_row(value)
            elif own != alias:
                raise TenantMismatch(
                    f"{instance._meta.label}.{self.name}: the given row is from {str(alias)!r}, and this row "
                    f"belongs to {str(own or 'the shared database')!r}. A relation stays in one database."
                )
        return assign(self, instance, value)

    return assigning


def _may_live_with_tenants(instance):
    return is_tenant_model(instance.__class__) or is_context_model(instance.__class__)
