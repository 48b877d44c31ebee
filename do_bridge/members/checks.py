"""System checks of the settings that copies of members need."""

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import Error, Warning, register
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.utils.module_loading import import_string

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.tenants import tenant_model

from . import shape


def is_configured():
    """Return whether DO_BRIDGE['MEMBERSHIP_MODEL'] names an existing model."""
    name = conf("MEMBERSHIP_MODEL")
    try:
        return bool(name) and apps.get_model(name) is not None
    except (LookupError, ValueError):
        return False


@register()
def check_membership(app_configs=None, **kwargs):
    """Refuse settings with which users cannot be copied."""
    if tenant_databases() is None:
        return []
    if not is_configured():
        message = f"DO_BRIDGE['MEMBERSHIP_MODEL'] is {conf('MEMBERSHIP_MODEL')!r}, which is not a model."
        hint = "Set it to the model in D1 that has a foreign key to the user and one to the tenant."
        return [Error(message, hint=hint, id="do_bridge.E016")]
    try:
        tenant_model()
    except LookupError:
        # The check do_bridge.E006 says so.
        return []
    try:
        shape.user_link(), shape.tenant_link()
        errors = [_error(text) for text in _wrong_fields()]
    except (ImproperlyConfigured, FieldDoesNotExist) as error:
        errors = [_error(str(error))]
    return errors


def _error(message):
    return Error(message, id="do_bridge.E017")


def _wrong_fields():
    """Yield an error message for each field that a copy cannot hold."""
    model, copied = get_user_model(), shape.copied_fields()
    for field in copied:
        if field.is_relation or field.primary_key:
            yield (
                f"DO_BRIDGE['MEMBER_FIELDS'] contains the key {field.name!r}. A tenant's database has no row "
                "that the key could refer to. Remove it from the setting."
            )
    for field in model._meta.concrete_fields:
        if field.is_relation and not field.null and not field.primary_key:
            yield (
                f"{model._meta.label}.{field.name} is a foreign key that does not allow NULL. A tenant's "
                "database has no row that a copy of the user could refer to. Set null=True, or move the "
                "field to another model."
            )


@register()
def check_user_middleware(app_configs=None, **kwargs):
    """Warn if `request.user` would be D1's row inside tenants."""
    if tenant_databases() is None:
        return []
    from django.contrib.auth.middleware import AuthenticationMiddleware

    from .middleware import TenantUserMiddleware

    ours = _positions(TenantUserMiddleware)
    theirs = _positions(AuthenticationMiddleware)
    if theirs and (not ours or ours[0] < theirs[0]):
        return [
            Warning(
                "MIDDLEWARE has no TenantUserMiddleware after AuthenticationMiddleware, so request.user "
                "can't be used in a tenant's relations.",
                hint="Put 'do_bridge.members.middleware.TenantUserMiddleware' after "
                "AuthenticationMiddleware in MIDDLEWARE.",
                id="do_bridge.W013",
            )
        ]
    return []


def _positions(middleware):
    places = []
    for place, path in enumerate(settings.MIDDLEWARE):
        found = import_string(path)
        if isinstance(found, type) and issubclass(found, middleware):
            places.append(place)
    return places
