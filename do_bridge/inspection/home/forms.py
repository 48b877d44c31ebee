"""The forms on a tenant's home."""

from django import forms

from do_bridge.tenancy import InvalidSlug, validate_slug
from do_bridge.tenancy.lifecycle.tenant_rows import has_name
from do_bridge.tenancy.tenants import is_registered, tenant_model

#: Bytes of a file that is loaded in a request; the command takes more.
LARGEST_FILE = 200_000_000
_MAGIC = b"SQLite format 3\0"


class CopyForm(forms.Form):
    """The slug and name of a copy."""

    slug = forms.CharField(label="Slug of the copy", max_length=63)
    name = forms.CharField(label="Name", max_length=150, required=False)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, prefix="copy", **kwargs)
        if not has_name(tenant_model()):
            del self.fields["name"]

    def clean_slug(self):
        slug = self.cleaned_data["slug"]
        try:
            validate_slug(slug)
        except InvalidSlug as error:
            raise forms.ValidationError(str(error)) from error
        if is_registered(slug):
            raise forms.ValidationError("A tenant with this slug exists already. Choose another slug.")
        return slug


class TypedSlugForm(forms.Form):
    """A form in which the tenant's slug is typed, because the work cannot be undone."""

    typed = forms.CharField(label="Type the slug to continue", max_length=63)

    def __init__(self, slug, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.slug = slug
        self.fields["typed"].widget.attrs["autocomplete"] = "off"

    def clean_typed(self):
        typed = self.cleaned_data["typed"]
        if typed != self.slug:
            raise forms.ValidationError("This is not the slug of this tenant. Nothing was changed.")
        return typed


class DeleteForm(TypedSlugForm):
    """Delete the tenant."""

    def __init__(self, slug, *args, **kwargs):
        super().__init__(slug, *args, prefix="delete", **kwargs)


class RestoreForm(TypedSlugForm):
    """Replace the tenant's data by a file's."""

    file = forms.FileField(label="SQLite file")
    field_order = ["file", "typed"]

    def __init__(self, slug, *args, **kwargs):
        super().__init__(slug, *args, prefix="restore", **kwargs)

    def clean_file(self):
        file = self.cleaned_data["file"]
        if file.size > LARGEST_FILE:
            raise forms.ValidationError(
                f"The file is larger than {LARGEST_FILE // 1_000_000} MB. Use manage.py tenant_load "
                f"{self.slug} FILE --replace."
            )
        if file.read(len(_MAGIC)) != _MAGIC:
            raise forms.ValidationError("This is not a SQLite file. Nothing was changed.")
        file.seek(0)
        return file
