"""Keep the methods and files of a row in the database that the row came from."""

from django.db.models import FileField, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.fields.related import lazy_related_operation

from do_bridge.tenancy.context import Scope, TenantMismatch, current, scope_context
from do_bridge.tenancy.routers import check_same_tenant, related_alias, row_alias
from do_bridge.tenancy.slugs import alias_slug

from .aliases import BoundAlias, ContextAlias, is_chosen
from .mixing import mixed, override, remake
from .querysets import detached

# Methods that read without naming the row's database. The last one belongs to LogEntry.
_READERS = ("get_next_in_order", "get_previous_in_order", "get_edited_object")


def bind_rows(model):
    """Bind the methods and files of a model's rows to the database of each row."""
    override(model, "refresh_from_db", _refreshing)
    for name in _READERS:
        if hasattr(model, name):
            override(model, name, _reading)
    if (field := model._meta.order_with_respect_to) is not None:
        lazy_related_operation(_bind_order, model, field.remote_field.model)
    for field in model._meta.local_fields:
        if isinstance(field, FileField):
            field.attr_class = mixed(_RowsFile, field.attr_class)


def _bind_order(model, owner):
    name = model.__name__.lower()
    override(owner, f"get_{name}_order", _reading)
    override(owner, f"set_{name}_order", _writing)


def in_scope_of(row, method, *args, **kwargs):
    """Call a method in the context of the tenant that the row came from."""
    alias = row_alias(row)
    slug = alias_slug(alias) if alias is not None else None
    if slug is None or current().alias == alias:
        return method(*args, **kwargs)
    with scope_context(Scope(slug, str(alias))):
        return method(*args, **kwargs)


def _refreshing(refresh):
    def refreshing(self, using=None, fields=None, from_queryset=None):
        alias = related_alias(self, self.__class__)
        if from_queryset is not None and using is None and alias is not None:
            own = from_queryset._db
            if own is None:
                from_queryset = detached(from_queryset, BoundAlias(alias))
            elif own != alias and not is_chosen(own):
                raise TenantMismatch(
                    f"A {self._meta.label} row of {str(alias)!r} can't be refreshed from a queryset that was "
                    f"made for {str(own)!r}. Make the queryset with using({str(alias)!r})."
                )
        return refresh(self, using, fields, from_queryset)

    return refreshing


def _reading(method):
    def reading(self, *args, **kwargs):
        found = in_scope_of(self, method, self, *args, **kwargs)
        # The queryset belongs to the row, not to the context of this call.
        is_lazy = isinstance(found, QuerySet) and isinstance(found._db, ContextAlias)
        return detached(found, BoundAlias(found._db)) if is_lazy else found

    return reading


def _writing(method):
    def writing(self, *args, **kwargs):
        _refuse_writing(self)
        return in_scope_of(self, method, self, *args, **kwargs)

    return writing


def _refuse_writing(row):
    if (alias := row_alias(row)) is not None:
        check_same_tenant(alias, row.__class__)


def _file_method(name):
    def method(self, *args, **kwargs):
        if name != "open":
            _refuse_writing(self.instance)
        return in_scope_of(self.instance, getattr(super(_RowsFile, self), name), *args, **kwargs)

    method.alters_data = True
    return method


def _file_property(name):
    return property(lambda self: in_scope_of(self.instance, lambda: getattr(super(_RowsFile, self), name)))


class _RowsFile:
    """A mixin for the files of rows.

    A storage may have a folder for each tenant.
    """

    open, save, delete = map(_file_method, ("open", "save", "delete"))
    path, url, size = map(_file_property, ("path", "url", "size"))
    file = property(_file_property("file").fget, FieldFile._set_file, FieldFile._del_file)

    def __reduce__(self):
        return remake, (_RowsFile, self.do_bridge_base), self.__getstate__()
