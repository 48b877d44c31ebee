"""System checks of settings that lose or leak data, or fail later."""

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Tags, Warning, register
from django.core.exceptions import FieldDoesNotExist
from django.db.models import CharField
from django.utils.module_loading import import_string

from do_bridge.driver.places import JURISDICTIONS
from do_bridge.tenancy.conf import DEFAULTS, conf
from do_bridge.tenancy.databases import DURABLE_OBJECT_ENGINE, tenant_databases

D1_ENGINE = "do_bridge.backends.d1"


def _plain_databases():
    """Return {alias: settings} of the aliases that are written in the settings file."""
    return dict(dict.items(settings.DATABASES))


def _templates():
    """Return the aliases that only lend their settings to tenants."""
    databases = tenant_databases()
    if databases is not None:
        return [databases.template] if dict.__contains__(databases, databases.template) else []
    return [
        alias
        for alias, values in _plain_databases().items()
        if values.get("ENGINE") == DURABLE_OBJECT_ENGINE and not values.get("NAME")
    ]


@register(Tags.security)
def check_token(app_configs=None, **kwargs):
    """Warn if an engine of this package has no token to send.

    A template without a relay is not in use.
    """
    return [
        Warning(
            f"The database {alias!r} has no PASSWORD, so every request to it will be refused.",
            hint="Set it to the relay's token (RELAY_TOKEN), or for transport 'rest' to the D1 API token.",
            id="do_bridge.W002",
        )
        for alias, values in _plain_databases().items()
        if values.get("ENGINE") in (D1_ENGINE, DURABLE_OBJECT_ENGINE)
        and not values.get("PASSWORD")
        and (values.get("HOST") or alias not in _templates())
    ]


@register(deploy=True)
def check_transport(app_configs=None, **kwargs):
    """Warn if a deployed site uses Cloudflare's REST API.

    Its rate limit is low.
    """
    return [
        Warning(
            f"The database {alias!r} is reached over Cloudflare's REST API, which allows 1,200 "
            "requests in 5 minutes.",
            hint="For a site with visitors set D1_TRANSPORT to 'relay' and RELAY_URL to the deployed Worker.",
            id="do_bridge.W001",
        )
        for alias, values in _plain_databases().items()
        if values.get("ENGINE") == D1_ENGINE and values.get("OPTIONS", {}).get("transport") == "rest"
    ]


@register()
def check_databases(app_configs=None, **kwargs):
    """Refuse a wrong template: in a plain dict, or with unusable settings."""
    errors = []
    for alias in _templates():
        if tenant_databases() is None:
            errors.append(
                Error(
                    f"DATABASES is a plain dict, so the template {alias!r} creates no aliases for tenants.",
                    hint="Write DATABASES = TenantDatabases({…}), imported from do_bridge.tenancy.",
                    id="do_bridge.E001",
                )
            )
        if _plain_databases()[alias].get("ATOMIC_REQUESTS"):
            errors.append(
                Error(
                    f"ATOMIC_REQUESTS would open a transaction on {alias!r}, which is only the "
                    "tenants' template.",
                    hint="Remove it, and call transaction.atomic() in the tenant views that need it.",
                    id="do_bridge.E004",
                )
            )
    return errors


@register()
def check_jurisdictions(app_configs=None, **kwargs):
    """Refuse a jurisdiction that the platform does not have, and one inside a NAME."""
    errors = []
    for alias, values in _plain_databases().items():
        if values.get("ENGINE") != DURABLE_OBJECT_ENGINE:
            continue
        jurisdiction = values.get("OPTIONS", {}).get("jurisdiction")
        if jurisdiction and jurisdiction not in JURISDICTIONS:
            errors.append(
                Error(
                    f"OPTIONS['jurisdiction'] of the database {alias!r} is {jurisdiction!r}, which does not "
                    "exist.",
                    hint=f"Use one of {', '.join(map(repr, JURISDICTIONS))}, or leave it out.",
                    id="do_bridge.E023",
                )
            )
        if "@" in (values.get("NAME") or ""):
            errors.append(
                Error(
                    f"NAME of the database {alias!r} has an '@', which separates a jurisdiction.",
                    hint="Write the name alone, and the jurisdiction as OPTIONS['jurisdiction'].",
                    id="do_bridge.E024",
                )
            )
    return errors


@register()
def check_routers(app_configs=None, **kwargs):
    """Refuse tenants without their routers, or with the routers in the wrong order."""
    if tenant_databases() is None or not _templates():
        return []
    from do_bridge.tenancy.routers import DirectoryRouter, TenantRouter

    classes = [
        import_string(router) if isinstance(router, str) else type(router)
        for router in settings.DATABASE_ROUTERS
    ]
    errors = []
    for router, identifier in ((TenantRouter, "do_bridge.E002"), (DirectoryRouter, "do_bridge.E003")):
        if not _positions(classes, router):
            name = f"{router.__module__}.{router.__qualname__}"
            errors.append(
                Error(
                    f"DATABASE_ROUTERS lacks {name}, so rows of tenants could go to the wrong database.",
                    hint=f"Add {name!r}.",
                    id=identifier,
                ),
            )
    if not errors and min(_positions(classes, TenantRouter)) > min(_positions(classes, DirectoryRouter)):
        errors.append(
            Error(
                "DirectoryRouter comes before TenantRouter and would send tenant models to D1.",
                hint="Put TenantRouter first in DATABASE_ROUTERS.",
                id="do_bridge.E003",
            )
        )
    return errors


def _positions(classes, router):
    return [position for position, cls in enumerate(classes) if issubclass(cls, router)]


@register()
def check_models(app_configs=None, **kwargs):
    """Refuse names in DO_BRIDGE that are not a setting, an app or a model."""
    errors = [
        Error(
            f"DO_BRIDGE has the unknown setting {name!r}.",
            hint=f"Use one of {', '.join(sorted(DEFAULTS))}.",
            id="do_bridge.E007",
        )
        for name in getattr(settings, "DO_BRIDGE", {})
        if name not in DEFAULTS
    ]
    for name in conf("TENANT_MODELS"):
        if not _is_known(name):
            errors.append(
                Error(
                    f"DO_BRIDGE['TENANT_MODELS'] names {name!r}, which is neither an installed app "
                    "nor a model.",
                    hint='Use an app\'s label ("blog") or a model\'s ("blog.Post").',
                    id="do_bridge.E005",
                )
            )
    if tenant_databases() is not None and _templates():
        errors += _check_tenant_model() or _check_places()
    return errors


def _is_known(name):
    try:
        apps.get_model(name) if "." in name else apps.get_app_config(name)
    except (LookupError, ValueError):
        return False
    return True


def _check_tenant_model():
    name = conf("TENANT_MODEL")
    try:
        apps.get_model(name)._meta.get_field("slug")
    except (LookupError, ValueError, FieldDoesNotExist):
        return [
            Error(
                f"DO_BRIDGE['TENANT_MODEL'] is {name!r}, which is not a model with a field 'slug'.",
                hint="Name the model with one row for each tenant.",
                id="do_bridge.E006",
            )
        ]
    return []


def _check_places():
    return [
        Error(
            f"DO_BRIDGE[{setting!r}] is {conf(setting)!r}, which is not a text field of {model}.",
            hint="Name a CharField of the model for tenants, or None.",
            id="do_bridge.E025",
        )
        for setting in ("JURISDICTION_FIELD", "LOCATION_FIELD")
        for model in [conf("TENANT_MODEL")]
        if conf(setting) is not None and not _is_text_field(model, conf(setting))
    ]


def _is_text_field(model, name):
    try:
        return isinstance(apps.get_model(model)._meta.get_field(name), CharField)
    except (LookupError, ValueError, FieldDoesNotExist):
        return False


@register()
def check_middleware(app_configs=None, **kwargs):
    """Warn if the tenant's prefix would stay in the path or in STATIC_URL."""
    ours, common = (
        "do_bridge.tenancy.middleware.TenantMiddleware",
        "django.middleware.common.CommonMiddleware",
    )
    order = list(settings.MIDDLEWARE)
    warnings = []
    if ours in order and common in order and order.index(ours) > order.index(common):
        warnings.append(
            Warning(
                "TenantMiddleware comes after CommonMiddleware, which then sees the tenants' path prefix.",
                hint="Put TenantMiddleware before CommonMiddleware in MIDDLEWARE.",
                id="do_bridge.W003",
            )
        )
    static = getattr(settings._wrapped, "STATIC_URL", None)
    if ours in order and static and not static.startswith(("/", "http://", "https://")):
        warnings.append(
            Warning(
                "STATIC_URL is relative, so it would point below the first tenant that is visited.",
                hint='Set it to a path with a leading slash, for example "/static/".',
                id="do_bridge.W004",
            )
        )
    return warnings
