"""System checks of read replicas of D1."""

from django.conf import settings
from django.core.checks import Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from do_bridge.contrib.replicas import primary_models

from .settings import D1_ENGINE, _plain_databases

MIDDLEWARE = "do_bridge.contrib.replicas.ReplicaMiddleware"
#: They read D1, or keep responses: a cookie must be set after they have.
INSIDE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "do_bridge.tenancy.middleware.TenantMiddleware",
)


def _with_replicas():
    """Return [(alias, settings)] of the D1 databases whose reads may use replicas."""
    return [
        (alias, values)
        for alias, values in _plain_databases().items()
        if values.get("ENGINE") == D1_ENGINE and values.get("OPTIONS", {}).get("replicas")
    ]


@register()
def check_replica_options(app_configs=None, **kwargs):
    """Refuse replicas over Cloudflare's API, and models that do not exist."""
    found = _with_replicas()
    errors = [
        Error(
            f"The database {alias!r} has replicas, but Cloudflare's API, over which it is reached, has no "
            "sessions.",
            hint="Set OPTIONS['transport'] to 'relay', or remove OPTIONS['replicas'].",
            id="do_bridge.E031",
        )
        for alias, values in found
        if values["OPTIONS"].get("transport", "relay") != "relay"
    ]
    try:
        list(primary_models() if found else ())
    except ImproperlyConfigured as error:
        errors.append(
            Error(
                str(error), hint="Correct DO_BRIDGE['PRIMARY_MODELS'] in the settings.", id="do_bridge.E032"
            )
        )
    return errors


@register()
def check_replica_middleware(app_configs=None, **kwargs):
    """Warn if no request uses the replicas, or if the middleware is not outermost."""
    found = _with_replicas()
    if not found:
        return []
    order = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in order:
        return [
            Warning(
                f"The database {found[0][0]!r} has replicas, but MIDDLEWARE has no ReplicaMiddleware, so "
                "every read goes to the primary.",
                hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
                id="do_bridge.W031",
            )
        ]
    return [
        Warning(
            f"ReplicaMiddleware comes after {path.rpartition('.')[2]}, whose reads then go to the primary, "
            "or whose cached responses give one visitor's bookmark to others.",
            hint="Put it first in MIDDLEWARE.",
            id="do_bridge.W032",
        )
        for path in INSIDE
        if path in order and order.index(path) < order.index(MIDDLEWARE)
    ]


@register()
def check_replicas_in_blocks(app_configs=None, **kwargs):
    """Warn of ATOMIC_REQUESTS, inside which everything goes to the primary."""
    return [
        Warning(
            f"ATOMIC_REQUESTS is on for {alias!r}. Everything in a block goes to the primary, so no view "
            "uses the replicas.",
            hint="Remove ATOMIC_REQUESTS and use transaction.atomic() around the writes, or remove "
            "OPTIONS['replicas'].",
            id="do_bridge.W033",
        )
        for alias, values in _with_replicas()
        if values.get("ATOMIC_REQUESTS")
    ]
