"""System checks of the settings for tenants' own domains."""

from django.conf import settings
from django.core.checks import Error, Warning, register
from django.core.exceptions import FieldDoesNotExist

from do_bridge.tenancy import domains
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.sides import is_tenant_model


@register()
def check_domain_model(app_configs=None, **kwargs):
    """Refuse a domain model by which hosts can't be looked up."""
    if not conf("DOMAIN_MODEL") or tenant_databases() is None:
        return []
    if (why := _why_not()) is None:
        return []
    return [
        Error(
            f"DO_BRIDGE['DOMAIN_MODEL'] is {conf('DOMAIN_MODEL')!r}, {why}.",
            hint="Name a model in D1 with a unique field 'host' and one foreign key to the tenants' model.",
            id="do_bridge.E021",
        )
    ]


def _why_not():
    """Return why the domain model can't be used, or None."""
    try:
        model = domains.domain_model()
        host = model._meta.get_field("host")
        domains.tenant_field(model)
    except (LookupError, ValueError):
        return "which is not a model"
    except FieldDoesNotExist as error:
        return f"which can't be used: {str(error).rstrip('.')}"
    if not host.unique:
        return "whose field 'host' is not unique"
    return "which is a tenant model" if is_tenant_model(model) else None


@register()
def check_shared_hosts(app_configs=None, **kwargs):
    """Check the hosts of the shared site, if tenants have their own domains.

    The shared site needs a host, and its pattern must not match all hosts.
    """
    if not conf("DOMAIN_MODEL"):
        return []
    if "*" in conf("SHARED_HOSTS"):
        text = "DO_BRIDGE['SHARED_HOSTS'] contains '*', so no host is a tenant's own domain"
    elif not domains.shared_host():
        text = "No host serves the shared site, so each request to it is answered with 404"
    else:
        return []
    return [
        Error(
            f"{text}.",
            hint="Set DO_BRIDGE['SHARED_HOSTS'] to the hosts of the shared site, or set TENANT_DOMAIN.",
            id="do_bridge.E022",
        )
    ]


@register()
def check_cookie_domains(app_configs=None, **kwargs):
    """Warn if browsers refuse the site's cookies at tenants' own domains."""
    names = [
        name for name in ("SESSION_COOKIE_DOMAIN", "CSRF_COOKIE_DOMAIN") if getattr(settings, name, None)
    ]
    if not conf("DOMAIN_MODEL") or not names:
        return []
    return [
        Warning(
            f"{' and '.join(names)} name one domain, so browsers refuse these cookies at tenants' own "
            "domains, and users can't sign in or send a form there.",
            hint="Remove the setting. Each domain then has a session of its own.",
            id="do_bridge.W021",
        )
    ]
