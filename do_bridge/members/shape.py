"""Which models and fields say who is a member, and what a copy of a user holds."""

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db.models import NOT_PROVIDED

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import tenant_model

DIRECTORY = "DIRECTORY_ALIAS"
# Copied if the user model has them, and nothing else is configured.
USUAL_FIELDS = ("first_name", "last_name", "name", "is_active")
ACTIVE = "is_active"
NO_PASSWORD = "!copy"  # noqa: S105  (a hash that no password has)


def membership_model():
    """Return the model class that DO_BRIDGE["MEMBERSHIP_MODEL"] names."""
    return apps.get_model(conf("MEMBERSHIP_MODEL"))


def user_link():
    """Return the membership's foreign key to the user model. Raises ImproperlyConfigured."""
    return _link(get_user_model(), 0)


def tenant_link():
    """Return the membership's foreign key to the tenant model. Raises ImproperlyConfigured."""
    return _link(tenant_model(), 1)


def _link(target, place):
    model, names = membership_model(), conf("MEMBERSHIP_FIELDS")
    found = [
        field
        for field in model._meta.concrete_fields
        if field.is_relation
        and field.related_model is not None
        and field.related_model._meta.concrete_model is target._meta.concrete_model
        and (not names or field.name == names[place])
    ]
    if len(found) != 1:
        raise ImproperlyConfigured(
            f"{model._meta.label} has {len(found)} foreign keys to {target._meta.label} that could say who "
            "is a member. Set DO_BRIDGE['MEMBERSHIP_FIELDS']: (the one to the user, the one to the tenant)."
        )
    (field,) = found
    if not field.target_field.primary_key:
        raise ImproperlyConfigured(
            f"{model._meta.label}.{field.name} refers to {field.target_field.name!r}. "
            f"Let it refer to the primary key of {target._meta.label}."
        )
    return field


def copied_fields():
    """Return the user model's fields that a copy holds besides the primary key."""
    model = get_user_model()
    names = conf("MEMBER_FIELDS")
    if names is None:
        present = {field.name for field in model._meta.concrete_fields}
        names = [model.USERNAME_FIELD, *(name for name in USUAL_FIELDS if name in present)]
    return [model._meta.get_field(name) for name in dict.fromkeys(names)]


def is_copied(name):
    """Say whether a copy holds the user model's field `name`."""
    return any(field.name == name for field in copied_fields())


def copied_values(user):
    """Return the values of a user's row that its copy holds, in the order of `copied_fields`."""
    return tuple(getattr(user, field.attname) for field in copied_fields())


def unsaved_copy(user, *, is_member=True):
    """Return an unsaved copy of a user: D1's values of the copied fields, blanks in all others.

    A copy of somebody who is no member is inactive.
    """
    model = get_user_model()
    copied = {field.attname: getattr(user, field.attname) for field in copied_fields()}
    values = {
        field.attname: blank_value(field, user.pk)
        for field in model._meta.concrete_fields
        if not field.primary_key and field.attname not in copied
    }
    if not is_member and ACTIVE in copied:
        copied[ACTIVE] = False
    return model(pk=user.pk, **values, **copied)


def blank_value(field, key):
    """Return what a copy has in a field that is not copied."""
    if field.name == "password":
        return NO_PASSWORD
    if field.null:
        return None
    if field.unique and is_text(field):
        return f"copy-{key}"
    if field.empty_strings_allowed and field.default is NOT_PROVIDED:
        return ""
    return field.get_default()


def is_text(field):
    """Say whether any text may stand in a field's column."""
    kinds = {"CharField", "TextField", "SlugField", "EmailField"}
    return field.get_internal_type() in kinds


def key_text(key):
    """Return a user's primary key as D1's triggers write it into a dirty flag."""
    from django.db import connections

    field = get_user_model()._meta.pk
    return str(field.get_db_prep_value(key, connections[conf(DIRECTORY)]))


def key_of(text):
    """Return the primary key that `key_text` made a text of."""
    return get_user_model()._meta.pk.to_python(text)
