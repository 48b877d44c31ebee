"""Keep choices in a tenant's admin inside the tenant's database.

This applies to form fields, filters and inlines.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any

from django.contrib.admin.filters import AllValuesFieldListFilter, FieldListFilter, RelatedFieldListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.db.models.fields import BLANK_CHOICE_DASH

from do_bridge.tenancy.orm.aliases import ContextAlias
from do_bridge.tenancy.orm.querysets import detached


def bound_form(form: Any, alias: str) -> Any:
    """Return a ModelForm whose new rows are validated in `alias`.

    It is a subclass of `form`.
    """

    class BoundForm(form):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.instance._state.db = alias

    return BoundForm


class TenantFieldsMixin:
    """A mixin for a tenant's admins and inlines, with the tenant's choices."""

    def get_queryset(self, request: Any) -> Any:
        # Not using(): projects keep the returned queryset, and another tenant must not read it.
        return detached(super().get_queryset(request), ContextAlias(self.admin_site.alias()))

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("using", ContextAlias(self.admin_site.alias()))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("using", ContextAlias(self.admin_site.alias()))
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class TenantInlineMixin(TenantFieldsMixin):
    """For `admin.TabularInline` and `StackedInline` inside a TenantModelAdmin."""

    def get_formset(self, request: Any, obj: Any = None, **kwargs: Any) -> Any:
        form = bound_form(kwargs.pop("form", self.form), self.admin_site.alias())
        return super().get_formset(request, obj, form=form, **kwargs)


class _FieldOfTenant:
    """A relation in a list filter whose choices are the tenant's rows, not D1's."""

    def __init__(self, field, alias):
        self._field, self._alias = field, alias

    def __getattr__(self, name):
        return getattr(self._field, name)

    def get_choices(
        self, include_blank=True, blank_choice=BLANK_CHOICE_DASH, limit_choices_to=None, ordering=()
    ):
        field = self._field
        rows = field.related_model._default_manager.using(self._alias)
        if limit := limit_choices_to or getattr(field, "get_limit_choices_to", dict)():
            rows = rows.complex_filter(limit)
        if ordering:
            rows = rows.order_by(*ordering)
        key = attrgetter(field.target_field.attname)
        return [*(blank_choice if include_blank else ()), *((key(row), str(row)) for row in rows)]


class _TenantsRelatedRows:
    """For filters by a relation: Django's would offer D1's rows of the other model."""

    def field_choices(self, field, request, model_admin):
        field = _FieldOfTenant(field, model_admin.admin_site.alias())
        return super().field_choices(field, request, model_admin)


class _TenantsValues:
    """For filters by the values of a field of another model."""

    def __init__(self, field, request, params, model, model_admin, field_path):
        super().__init__(field, request, params, model, model_admin, field_path)
        self.lookup_choices = self.lookup_choices.using(model_admin.admin_site.alias())


_MIXINS = {RelatedFieldListFilter: _TenantsRelatedRows, AllValuesFieldListFilter: _TenantsValues}


def tenant_filter(model: Any, item: Any) -> Any:
    """Return an item of `list_filter` that queries the tenant's database.

    The filter may be Django's or a subclass.
    """
    if isinstance(item, str):
        field = get_fields_from_path(model, item)[-1]
        name, chosen = item, next(cls for test, cls in FieldListFilter._field_list_filters if test(field))
    elif isinstance(item, list | tuple):
        name, chosen = item
    else:
        return item
    for base, mixin in _MIXINS.items():
        if issubclass(chosen, base):
            return name, _mixed(mixin, chosen)
    return item


@lru_cache
def _mixed(mixin, chosen):
    return type(chosen.__name__, (mixin, chosen), {})
