"""Which tenants there are: rows of the configured model in the shared database, remembered for a moment."""

import copy
import time
from collections import OrderedDict
from threading import Lock

from django.apps import apps
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal

from .conf import conf
from .slugs import validate_slug

#: Slugs in one answer of the directory, some hundred kilobytes.
PIECE = 10_000

#: Sent with `tenant`, a row just read for somebody who is about to use the tenant, by the sender's model.
tenant_used = Signal()


def tenant_model():
    """Return the model class that DO_BRIDGE["TENANT_MODEL"] names."""
    return apps.get_model(conf("TENANT_MODEL"))


#: {app label: function}, each of which returns annotations of tenants' rows, by name, for `tenant_used`.
more_annotations = {}


def row_annotations():
    """Return what is read together with a tenant's row: for the model itself, and for apps."""
    found = getattr(tenant_model(), "lookup_annotations", dict)()
    for annotations in more_annotations.values():
        found |= annotations()
    return found


def registered_slugs(tenants=None):
    """Return the slugs of all tenants, or of a query for some, sorted; read in pieces, one trip each."""
    if tenants is None:
        tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    slugs = tenants.order_by("slug").values_list("slug", flat=True)
    found = list(slugs[:PIECE])
    while found and len(found) % PIECE == 0 and (more := list(slugs.filter(slug__gt=found[-1])[:PIECE])):
        found += more
    return found


def is_registered(slug):
    """Say whether the directory has a tenant of this slug now; one round trip."""
    return tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).filter(slug=slug).exists()


class TenantLookup:
    """A bounded, short-lived memory of tenants' rows; a tenant that was not found is asked for again."""

    def __init__(self, clock=time.monotonic):
        #: Called with a row just read; what it raises is raised by `get`.
        self.check = None
        #: Returns annotations of the row, by name, for `check`.
        self.annotations = dict
        self._clock = clock
        self._rows = OrderedDict()
        self._slugs = {}
        self._lock = Lock()

    def get(self, slug):
        """Return the tenant's row, a copy of its own for each caller, or None.

        Raises InvalidSlug, and what `check` raises.
        """
        validate_slug(slug)
        now = self._clock()
        with self._lock:
            until, tenant = self._rows.get(slug, (0, None))
        if tenant is None or until <= now:
            tenant = self._read(slug)
            if tenant is None:
                return None
            if self.check is not None:
                self.check(tenant)
            self._remember(slug, now, tenant)
            tenant_used.send(sender=type(tenant), tenant=tenant)
        return copy.copy(tenant)

    def _read(self, slug):
        model = tenant_model()
        tenants = model._base_manager.using(conf("DIRECTORY_ALIAS")).filter(slug=slug)
        # In the same round trip.
        return tenants.annotate(**row_annotations(), **self.annotations()).first()

    def first_slugs(self, count):
        """Return the first `count` slugs in order, remembered as long as a tenant's row."""
        now = self._clock()
        with self._lock:
            until, slugs = self._slugs.get(count, (0, None))
        if slugs is None or until <= now:
            tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
            slugs = tuple(tenants.order_by("slug").values_list("slug", flat=True)[:count])
            with self._lock:
                self._slugs[count] = (now + conf("TENANT_CACHE_SECONDS"), slugs)
        return slugs

    def forget(self, slug=None):
        """Drop what is known of one tenant, or of all; say whether there was anything."""
        with self._lock:
            self._slugs.clear()
            if slug is not None:
                return self._rows.pop(slug, None) is not None
            known = bool(self._rows)
            self._rows.clear()
            return known

    def _remember(self, slug, now, tenant):
        with self._lock:
            self._rows[slug] = (now + conf("TENANT_CACHE_SECONDS"), tenant)
            self._rows.move_to_end(slug)
            while len(self._rows) > conf("TENANT_CACHE_SIZE"):
                self._rows.popitem(last=False)


lookup = TenantLookup()


def _forget_changed(sender, instance, **kwargs):
    # By everything, not by slug: the slug itself may be what has changed.
    lookup.forget()


def watch_tenants():
    """Forget remembered tenants when this process saves or deletes one."""
    post_save.connect(_forget_changed, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_saved")
    post_delete.connect(_forget_changed, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_deleted")
