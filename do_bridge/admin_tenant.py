"""Keeps what a tenant's admin offers, in form fields, filters and inlines, inside that tenant's object."""

from operator import attrgetter

from django.contrib.admin.filters import AllValuesFieldListFilter, FieldListFilter, RelatedFieldListFilter
from django.contrib.admin.utils import get_fields_from_path


def bound_form(form, alias):
    """Return a subclass of the ModelForm `form` whose new rows are checked against the database `alias`."""

    class BoundForm(form):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.instance._state.db = alias

    return BoundForm


class TenantFieldsMixin:
    """For admins and their inlines on a tenant's site: choices come from the tenant's object."""

    def get_queryset(self, request):
        return super().get_queryset(request).using(self.admin_site.alias())

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        kwargs.setdefault("using", self.admin_site.alias())
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        kwargs.setdefault("using", self.admin_site.alias())
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class TenantInlineMixin(TenantFieldsMixin):
    """For `admin.TabularInline` and `StackedInline` inside a TenantModelAdmin."""

    def get_formset(self, request, obj=None, **kwargs):
        form = bound_form(kwargs.pop("form", self.form), self.admin_site.alias())
        return super().get_formset(request, obj, form=form, **kwargs)


class TenantRelatedFilter(RelatedFieldListFilter):
    """Offers the tenant's rows of the other model; Django's would offer the directory's."""

    def field_choices(self, field, request, model_admin):
        rows = field.related_model._default_manager.using(model_admin.admin_site.alias())
        if limit := getattr(field, "get_limit_choices_to", dict)():
            rows = rows.complex_filter(limit)
        if ordering := self.field_admin_ordering(field, request, model_admin):
            rows = rows.order_by(*ordering)
        key = attrgetter(field.target_field.attname)
        return [(key(row), str(row)) for row in rows]


class TenantAllValuesFilter(AllValuesFieldListFilter):
    """Offers the values that the tenant's rows have."""

    def __init__(self, field, request, params, model, model_admin, field_path):
        super().__init__(field, request, params, model, model_admin, field_path)
        self.lookup_choices = self.lookup_choices.using(model_admin.admin_site.alias())


def tenant_filter(model, item):
    """Return an item of `list_filter`, with a filter of this module where Django's asks the directory."""
    if not isinstance(item, str):
        return item
    field = get_fields_from_path(model, item)[-1]
    chosen = next(cls for test, cls in FieldListFilter._field_list_filters if test(field))
    ours = {RelatedFieldListFilter: TenantRelatedFilter, AllValuesFieldListFilter: TenantAllValuesFilter}
    return (item, ours[chosen]) if chosen in ours else item
