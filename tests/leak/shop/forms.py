"""Forms whose choices are querysets, made when their classes are."""

from django import forms
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory

from tests.leak.shop.catalogue import CATEGORIES, LABELS
from tests.leak.shop.models import Category, Item, Label


class ItemForm(forms.ModelForm):
    category = forms.ModelChoiceField(queryset=Category.objects.all())
    labels = forms.ModelMultipleChoiceField(queryset=Label.objects.order_by("pk"), required=False)

    class Meta:
        model = Item
        fields = ["name", "stock", "category", "labels", "owner"]


class SearchForm(forms.Form):
    category = forms.ModelChoiceField(queryset=CATEGORIES, required=False)
    labels = forms.ModelMultipleChoiceField(
        queryset=LABELS, required=False, widget=forms.CheckboxSelectMultiple, to_field_name="name"
    )


class SharedForm(forms.Form):
    category = forms.ModelChoiceField(queryset=Category.objects.none())


# Nothing but what Django makes of the models.
PlainItemForm = modelform_factory(Item, fields=["name", "stock", "category", "labels", "owner"])
ItemFormSet = modelformset_factory(Item, form=ItemForm, extra=1)
CategoryFormSet = modelformset_factory(Category, fields=["name"], extra=0)
CategoryItemFormSet = inlineformset_factory(
    Category, Item, fields=["name", "stock", "labels", "owner"], extra=1
)
