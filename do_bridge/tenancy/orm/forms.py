"""Form fields of tenant models' relations: they offer the current tenant's rows, never the directory's."""

from functools import wraps

from django.db.models import ForeignKey, ManyToManyField
from django.forms import ModelChoiceField, ModelMultipleChoiceField
from django.forms.models import BaseModelForm

from do_bridge.patches import replace
from do_bridge.tenancy.context import current
from do_bridge.tenancy.routers import is_tenant_model

from .aliases import ContextAlias
from .querysets import detached


class _OffersTenantsRows:
    """A choice field that takes the tenant which is current when its form is used; `using` goes before."""

    @property
    def queryset(self):
        rows = self._queryset
        if rows is not None and rows._db is None and current().alias is not None:
            return detached(rows, ContextAlias(current().alias))
        return rows

    @queryset.setter
    def queryset(self, queryset):
        self._set_queryset(queryset)


class TenantModelChoiceField(_OffersTenantsRows, ModelChoiceField):
    """One row of the current tenant."""


class TenantModelMultipleChoiceField(_OffersTenantsRows, ModelMultipleChoiceField):
    """Several rows of the current tenant."""


class _FormField:
    """Stands for the `formfield` method of one relation."""

    def __init__(self, field, form_class):
        self.field = field
        self.form_class = form_class

    def __call__(self, **kwargs):
        return type(self.field).formfield(self.field, **{"form_class": self.form_class, **kwargs})


def _offering(init):
    """Return an `__init__` of ModelForm that binds relations which the form declares itself."""

    @wraps(init)
    def offering(self, *args, **kwargs):
        init(self, *args, **kwargs)
        scope, model = current(), self._meta.model
        if not scope.is_tenant or not is_tenant_model(model):
            return
        relations = {field.name for field in model._meta.get_fields() if field.is_relation}
        for name, field in self.fields.items():
            if name in relations and isinstance(field, ModelChoiceField):
                rows = field.queryset
                if rows is not None and rows._db is None:
                    field.queryset = detached(rows, ContextAlias(scope.alias))

    return offering


def bind_form_fields(model):
    """Let every relation of a tenant model make form fields that stay in the tenant.

    Without this a ModelForm with a foreign key to a user would offer, and accept, every company's users.
    """
    for field in [*model._meta.local_fields, *model._meta.local_many_to_many]:
        if isinstance(field, ForeignKey):
            field.formfield = _FormField(field, TenantModelChoiceField)
        elif isinstance(field, ManyToManyField):
            field.formfield = _FormField(field, TenantModelMultipleChoiceField)


def bind_forms():
    """Let ModelForms of tenant models bind the relations that they declare themselves."""
    replace(BaseModelForm, "__init__", _offering)
