"""Validators for fields of the accounts app."""

from django.core.exceptions import ValidationError

from do_bridge.tenancy.slugs import is_valid_slug, validate_new_slug


def is_storable(text):
    """Return whether a text can be stored.

    JSON can contain lone surrogates, and NUL ends SQL texts.
    """
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def validate_tenant_slug(value):
    """Raise ValidationError if `value` can't be a new tenant's name."""
    if not is_valid_slug(value):
        raise ValidationError(
            "Use 1 to 63 of a-z, 0-9 and hyphens, with a letter or a digit at both ends.", code="invalid"
        )
    try:
        validate_new_slug(value)
    except ValueError as exc:
        raise ValidationError("This name is reserved. Choose another one.", code="reserved") from exc
