"""Form fields of tenant models' relations: they offer the current tenant's rows, never the directory's."""

from functools import wraps

from django.forms import ModelChoiceField
from django.forms.models import BaseModelForm

from do_bridge.patches import replace
from do_bridge.tenancy.context import current
from do_bridge.tenancy.sides import is_tenant_model

from .aliases import ContextAlias
from .mixing import mixed
from .querysets import detached


class _OffersTenantsRows:
    """Mixed into choice fields: they offer rows of the tenant that is current when they are used."""

    @property
    def queryset(self):
        rows = self._get_queryset()
        if rows is not None and rows._db is None and current().alias is not None:
            return detached(rows, ContextAlias(current().alias))
        return rows

    @queryset.setter
    def queryset(self, queryset):
        self._set_queryset(queryset)


def bind_forms():
    """Let the relations in every ModelForm of a tenant model stay in the tenant.

    Without this a ModelForm with a foreign key to a user would offer, and accept, every company's users.
    """
    replace(BaseModelForm, "__init__", _offering)


def _offering(init):
    @wraps(init)
    def offering(self, *args, **kwargs):
        init(self, *args, **kwargs)
        model = self._meta.model
        if not is_tenant_model(model):
            return
        relations = {field.name for field in model._meta.get_fields() if field.is_relation}
        for name in relations & self.fields.keys():
            field = self.fields[name]
            if isinstance(field, ModelChoiceField):
                field.__class__ = mixed(_OffersTenantsRows, type(field))
                # The widget's choices are made of it.
                field.queryset = field.queryset

    return offering
