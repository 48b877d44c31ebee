"""Fewer round trips for the pages of a ModelAdmin.

Reads of one page that do not depend on each other are sent together.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from django.contrib.admin.filters import FieldListFilter, RelatedFieldListFilter
from django.contrib.admin.utils import flatten_fieldsets, get_fields_from_path
from django.core.exceptions import ValidationError
from django.db.models import Max, Min, prefetch_related_objects
from django.forms import ModelChoiceField

from do_bridge.backends.remote_sqlite import prefetching, read_ahead
from do_bridge.gathering import gather


class GatherMixin:
    """A mixin for `admin.ModelAdmin` whose pages take few round trips.

    A list takes one for the counts, the rows, the range of its dates and the choices of its filters, and one
    for the links of the date hierarchy. A form takes one for the row and its many-to-many relations, one for
    the rows of all inlines, and one for the choices of all fields.
    """

    def get_changelist(self, request: Any, **kwargs: Any) -> Any:
        return _gathered(super().get_changelist(request, **kwargs))

    def get_list_filter(self, request: Any) -> Any:
        return [_later(self.model, item) for item in super().get_list_filter(request)]

    def get_object(self, request: Any, object_id: Any, from_field: Any = None) -> Any:
        read = partial(super().get_object, request, object_id, from_field)
        relations = self._many_to_many()
        stub = None if from_field else self._stub(request, object_id)
        answers = read_ahead.Answers()
        if stub is not None and relations:
            # The statements of these relations are the same for an empty object with this key.
            works = [partial(prefetch_related_objects, [stub], name) for name in relations]
            read_ahead.read_for([read, *works], answers)
        with read_ahead.answering(answers):
            found = read()
        if found is not None:
            prefetching.prefetch([found], *self._shown_rows(request, found), *relations, answers=answers)
        return found

    def get_inline_formsets(
        self, request: Any, formsets: Any, inline_instances: Any, obj: Any = None, **kwargs: Any
    ) -> Any:
        if request.method == "GET" and obj is not None:
            gather(*(formset.get_queryset() for formset in formsets if hasattr(formset, "get_queryset")))
        return super().get_inline_formsets(request, formsets, inline_instances, obj, **kwargs)

    def render_change_form(self, request: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        forms = [context["adminform"].form]
        for inline in context["inline_admin_formsets"]:
            forms += inline.formset.forms
        read_choices(forms)
        return super().render_change_form(request, context, *args, **kwargs)

    def _many_to_many(self):
        """Return the names of the relations that the form may show."""
        relations = [
            field.name for field in self.opts.many_to_many if field.remote_field.through._meta.auto_created
        ]
        if self.fieldsets or self.fields:
            shown = flatten_fieldsets(self.fieldsets or [(None, {"fields": self.fields})])
            relations = [name for name in relations if name in shown]
        return [name for name in relations if name not in (self.exclude or ())]

    def _shown_rows(self, request, obj):
        """Return the names of the foreign keys whose rows the form shows as text."""
        read_only = set(self.get_readonly_fields(request, obj))
        return [field.name for field in self.opts.fields if field.many_to_one and field.name in read_only]

    def _stub(self, request, object_id):
        """Return an empty object with the key, or None if the text is not a key."""
        try:
            stub = self.model(pk=self.opts.pk.to_python(object_id))
        except (ValidationError, ValueError):
            # Django's get_object() answers those with "doesn't exist".
            return None
        stub._state.adding, stub._state.db = False, self.get_queryset(request).db
        return stub


def read_choices(forms: Any) -> None:
    """Read the choices of all fields with rows of a model in one round trip."""
    answers, works = read_ahead.Answers(), []
    for form in forms:
        for name, field in form.fields.items():
            if not isinstance(field, ModelChoiceField):
                continue
            # The admin wraps the widget that lists the choices.
            widget = getattr(field.widget, "widget", field.widget)
            if hasattr(widget, "optgroups") and not field.widget.is_hidden:
                if widget is not field.widget:
                    widget.choices = field.widget.choices
                bound = form[name]
                works.append(partial(widget.optgroups, bound.html_name, widget.format_value(bound.value())))
                widget.optgroups = read_ahead.answered(widget.optgroups, answers)
    if len(works) > 1:
        read_ahead.read_for(works, answers)


@lru_cache
def _gathered(changelist):
    return type(changelist.__name__, (_Gathered, changelist), {})


class _Gathered:
    """A list that reads its counts, its rows and the choices of its filters together."""

    def get_results(self, request):
        answers = read_ahead.Answers()
        later = [spec.lookup_choices for spec in self.filter_specs if isinstance(spec, _ReadLater)]
        page = self._page()
        works = [self.queryset.count, *(choices.read for choices in later)]
        if self.model_admin.show_full_result_count:
            works.append(self.root_queryset.count)
        if page is not None:
            works.append(partial(list, page))
        if self.date_hierarchy and not any(
            name.startswith(f"{self.date_hierarchy}__") for name in self.params
        ):
            works.append(self._date_range)
        read_ahead.read_for(works, answers)
        with read_ahead.answering(answers):
            super().get_results(request)
            for choices in later:
                choices.read()
            if page is not None:
                self._fill(list(page))
        # For the date hierarchy, which the page asks for its range.
        self.queryset.aggregate = read_ahead.answered(self.queryset.aggregate, answers)
        # Some were kept before their choices were known.
        self.filter_specs = [spec for spec in self.filter_specs if spec.has_output()]
        self.has_filters = bool(self.filter_specs)

    def _page(self):
        """Return the queryset of the page that the request asks for, or None."""
        start = (self.page_num - 1) * self.list_per_page
        if self.show_all or start < 0:
            return None
        return self.queryset[start : start + self.list_per_page]

    def _date_range(self):
        # As in Django's template tag.
        self.queryset.aggregate(first=Min(self.date_hierarchy), last=Max(self.date_hierarchy))

    def _fill(self, rows):
        """Give the rows of the requested page to the list, if they are all that it shows."""
        expected = self.result_count
        if self.multi_page:
            expected -= (self.page_num - 1) * self.list_per_page
            if expected > self.list_per_page + getattr(self.paginator, "orphans", 0):
                expected = self.list_per_page
        elif self.page_num != 1:
            return
        if len(rows) == expected:
            self.result_list._result_cache, self.result_list._prefetch_done = rows, True


class _Choices:
    """The choices of a filter, which are read when they are needed."""

    def __init__(self, make):
        self._make, self._found = make, None

    def read(self):
        """Read the choices, once."""
        if self._found is None:
            self._found = self._make()
        return self._found

    @property
    def is_read(self):
        return self._found is not None

    def __len__(self):
        return len(self.read())

    def __iter__(self):
        return iter(self.read())


class _ReadLater:
    """Mixed into filters by a relation: its rows are read with the list."""

    def field_choices(self, field, request, model_admin):
        return _Choices(partial(super().field_choices, field, request, model_admin))

    def has_output(self):
        # The list looks again. A filter that is in use decides which rows the list has.
        return (not self.lookup_choices.is_read and not self.used_parameters) or super().has_output()


def _later(model, item):
    """Return a `list_filter` item that reads its choices together with the list.

    This concerns filters by a relation. Other items are returned unchanged.
    """
    if isinstance(item, str):
        field = get_fields_from_path(model, item)[-1]
        name, chosen = item, next(cls for test, cls in FieldListFilter._field_list_filters if test(field))
    elif isinstance(item, list | tuple):
        name, chosen = item
    else:
        return item
    if isinstance(chosen, type) and issubclass(chosen, RelatedFieldListFilter):
        return name, _reading_later(chosen)
    return item


@lru_cache
def _reading_later(chosen):
    return chosen if issubclass(chosen, _ReadLater) else type(chosen.__name__, (_ReadLater, chosen), {})
