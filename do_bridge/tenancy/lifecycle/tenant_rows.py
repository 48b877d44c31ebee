"""The values of a tenant's row in D1, whatever fields the project's model for tenants has."""

import json

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import JSONField

from do_bridge.tenancy.tenants import is_registered, tenant_model


class FieldsMissing(ValueError):
    """A new tenant's row needs values that were not given; nothing was made."""


class WrongField(ValueError):
    """A value for a tenant's row names no field of the model, or is not what the field takes."""


def has_name(model):
    """Return whether the model for tenants has a field `name`, which says what people read."""
    return any(field.name == "name" for field in model._meta.concrete_fields)


def row_values(slug, name="", fields=None):
    """Return the keyword arguments of a tenant's row."""
    named = {"name": name or slug} if has_name(tenant_model()) else {}
    return {"slug": slug, **named, **(fields or {})}


def missing_fields(given=()):
    """Return the names of fields that a tenant's row needs besides `slug`, `name` and those `given`."""
    return [
        field.name
        for field in tenant_model()._meta.concrete_fields
        if not {field.name, field.attname} & {"slug", "name", *given} and _is_required(field)
    ]


def _is_required(field):
    makes_itself = (
        field.primary_key
        or field.has_default()
        or field.has_db_default()
        or field.generated
        or getattr(field, "auto_now_add", False)
        or getattr(field, "auto_now", False)
    )
    return not (makes_itself or field.null or field.blank)


def refuse_missing(slug, fields=None):
    """Return whether a row of this slug can be made of `fields`; False if it lacks some and is there already.

    Raises FieldsMissing if it lacks some and is not there.
    """
    missing = missing_fields(fields or ())
    if not missing:
        return True
    if is_registered(slug):
        return False
    listed = " ".join(f"--set {name}=<value>" for name in missing)
    raise FieldsMissing(
        f"{tenant_model()._meta.label} needs a value for {', '.join(missing)}. "
        f"Give it with {listed}, or in code with create_tenant(…, fields={{…}})."
    )


def add_set_argument(parser):
    """Add `--set FIELD=VALUE` to a command that makes tenants."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="fields",
        help="The value of another field of the model for tenants; may be repeated.",
    )


def parse_fields(pairs):
    """Return {attribute: value} of texts "field=value". Raises WrongField, which names the field alone."""
    values = {}
    model = tenant_model()
    for pair in pairs:
        name, mark, text = pair.partition("=")
        field = _find_field(model, name if mark else "")
        try:
            values[field.attname] = field.clean(
                json.loads(text) if isinstance(field, JSONField) else text, None
            )
        except (ValidationError, ValueError) as error:
            raise WrongField(f"--set {name}: this value is not one that {field} takes.") from error
    return values


def _find_field(model, name):
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if field is None or not field.concrete or field.many_to_many or field.name in ("slug", "name"):
        names = [one.name for one in model._meta.concrete_fields if one.name not in ("slug", "name")]
        raise WrongField(
            f"--set takes FIELD=VALUE, and a field of {model._meta.label}: {', '.join(names)}. "
            "The slug is the first argument, the name is --name."
        )
    return field
