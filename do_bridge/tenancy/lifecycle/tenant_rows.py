"""The values of a tenant's row in D1, for any fields of the tenant model."""

import json

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import JSONField

from do_bridge.tenancy.tenants import is_registered, tenant_model


class FieldsMissing(ValueError):
    """A new tenant's row needs values that were not given; nothing was made."""


class WrongField(ValueError):
    """A `--set` argument names no field, or its value is not valid for the field."""


def has_name(model):
    """Return whether the tenant model has a field `name`, the tenant's display name."""
    return any(field.name == "name" for field in model._meta.concrete_fields)


def row_values(slug, name="", fields=None):
    """Return the keyword arguments of a tenant's row."""
    named = {"name": name or slug} if has_name(tenant_model()) else {}
    return {"slug": slug, **named, **(fields or {})}


def missing_fields(given=()):
    """Return the names of required fields other than `slug`, `name` and `given`."""
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
    """Return whether a row of this slug can be made from `fields`.

    Returns False if fields are missing and the row exists. Raises FieldsMissing if fields are missing and it
    does not exist.
    """
    missing = missing_fields(fields or ())
    if not missing:
        return True
    if is_registered(slug):
        return False
    listed = " ".join(f"--set {name}=<value>" for name in missing)
    raise FieldsMissing(
        f"{tenant_model()._meta.label} needs a value for {', '.join(missing)}. "
        f"Add {listed} to the command. In code, call create_tenant(…, fields={{…}})."
    )


def add_set_argument(parser):
    """Add `--set FIELD=VALUE` to a command that makes tenants."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="fields",
        help="Set another field of the tenant's row. Can be repeated.",
    )


def parse_fields(pairs):
    """Return {attribute: value} of texts "field=value".

    Raises WrongField, whose message has the field's name but not its value.
    """
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
            raise WrongField(f"--set {name}: the value is not valid for {field}.") from error
    return values


def _find_field(model, name):
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if field is None or not field.concrete or field.many_to_many or field.name in ("slug", "name"):
        names = [one.name for one in model._meta.concrete_fields if one.name not in ("slug", "name")]
        raise WrongField(
            f"--set takes FIELD=VALUE. The fields of {model._meta.label} are: {', '.join(names)}. "
            "Give the slug as the first argument, and the name with --name."
        )
    return field
