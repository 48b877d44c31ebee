"""Tenants' own domains, and the hosts of the shared site.

The module has a short-lived cache of the tenants' hosts.
"""

import re
import time
from collections import OrderedDict
from threading import Lock

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models.signals import post_delete, post_save
from django.http.request import split_domain_port, validate_host

from do_bridge.backends.environment import in_test_environment

from .conf import conf
from .tenants import tenant_model

# The host of Django's test client, which is not in a project's settings.
_TEST_HOST = "testserver"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{4,253}}$){_LABEL}(?:\.{_LABEL})+", re.ASCII)


def host_of(request):
    """Return the request's host in lower case, without the port and a final dot."""
    return split_domain_port(request.get_host())[0].removesuffix(".")


def label_below_tenant_domain(host):
    """Return what comes before TENANT_DOMAIN in `host`, or None for another host."""
    domain = split_domain_port(conf("TENANT_DOMAIN"))[0]
    if not domain or not host.endswith("." + domain):
        return None
    return host.removesuffix("." + domain)


def is_shared(host):
    """Return whether `host` serves the shared site.

    These are TENANT_DOMAIN, the reserved names below it, and SHARED_HOSTS.
    """
    domain = split_domain_port(conf("TENANT_DOMAIN"))[0]
    if (domain and host == domain) or label_below_tenant_domain(host) in conf("RESERVED_SLUGS"):
        return True
    if host == _TEST_HOST and in_test_environment():
        return True
    return validate_host(host, [pattern.lower() for pattern in conf("SHARED_HOSTS")])


def shared_host():
    """Return a host of the shared site for links to it, or an empty string."""
    named = (host for host in conf("SHARED_HOSTS") if not host.startswith((".", "*")))
    return conf("TENANT_DOMAIN") or next(named, "")


def validate_domain(host):
    """Raise ValidationError unless `host` can be a tenant's own domain.

    A validator for the field `host` of the model that DO_BRIDGE["DOMAIN_MODEL"] names.
    """
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        raise ValidationError(
            "Use a host name in lower-case ASCII such as blog.example.com, without a port.", code="invalid"
        )
    if is_shared(host) or label_below_tenant_domain(host) is not None:
        raise ValidationError("This host belongs to the site itself.", code="shared")


def domain_model():
    """Return the model class that DO_BRIDGE["DOMAIN_MODEL"] names.

    Return None without that setting. Raises LookupError and ValueError for a wrong name.
    """
    name = conf("DOMAIN_MODEL")
    return apps.get_model(name) if name else None


def tenant_field(model):
    """Return the one foreign key of a domain model to the model for tenants.

    Raises FieldDoesNotExist if it has none or several.
    """
    found = [
        field
        for field in model._meta.concrete_fields
        if field.many_to_one and field.remote_field.model._meta.concrete_model is tenant_model()
    ]
    if len(found) != 1:
        raise FieldDoesNotExist(f"{model._meta.label} has {len(found)} foreign keys to the tenants' model.")
    return found[0]


class DomainLookup:
    """A bounded, short-lived cache of hosts and their tenants' slugs.

    Unknown hosts are not cached.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._slugs = OrderedDict()
        self._lock = Lock()
        self._age = 0

    def get(self, host):
        """Return the slug of the tenant that `host` belongs to, or None.

        Takes one round trip at most.
        """
        now = self._clock()
        with self._lock:
            until, slug = self._slugs.get(host, (0, None))
            age = self._age
        if slug is None or until <= now:
            slug = self._read(host)
            if slug is not None:
                self._remember(host, slug, now, age)
        return slug

    @staticmethod
    def _read(host):
        model = domain_model()
        # The default manager, so that a project can leave out hosts that nobody has verified.
        rows = model._default_manager.using(conf("DIRECTORY_ALIAS")).filter(host=host)
        return rows.values_list(f"{tenant_field(model).name}__slug", flat=True).first()

    def _remember(self, host, slug, now, age):
        with self._lock:
            if age != self._age:
                return  # A domain was changed while this one was read.
            self._slugs[host] = (now + conf("TENANT_CACHE_SECONDS"), slug)
            self._slugs.move_to_end(host)
            while len(self._slugs) > conf("TENANT_CACHE_SIZE"):
                self._slugs.popitem(last=False)

    def forget(self):
        """Remove all hosts from the cache."""
        with self._lock:
            self._age += 1
            self._slugs.clear()


domains = DomainLookup()


def _forget(sender, **kwargs):
    domains.forget()


def watch_domains():
    """Empty the cache when this process saves or deletes a domain or a tenant."""
    for name in filter(None, (conf("DOMAIN_MODEL"), conf("TENANT_MODEL"))):
        for signal in (post_save, post_delete):
            # A model's signal resolves a name "app.Model" once the model is loaded.
            signal.connect(_forget, sender=name, dispatch_uid=f"do_bridge.domains.{name}")
