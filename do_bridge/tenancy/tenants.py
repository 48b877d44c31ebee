"""The tenants' rows in the shared database, and a short-lived cache of them."""

import copy
import time
from collections import OrderedDict
from threading import Lock

from django.apps import apps
from django.db.models import BooleanField, Func
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal

from .conf import conf
from .slugs import SLUG_SQL, validate_slug

#: Slugs read from D1 in one round trip, some hundred kilobytes.
CHUNK = 10_000

#: Sent before a tenant is used, with its row that was just read as `tenant`; the sender is the row's class.
tenant_used = Signal()


def tenant_model():
    """Return the model class that DO_BRIDGE["TENANT_MODEL"] names."""
    return apps.get_model(conf("TENANT_MODEL"))


def slug_column():
    """Return the column of the slug in the table of tenants."""
    return tenant_model()._meta.get_field("slug").column


#: {app label: function} that return annotations {name: expression} of tenants' rows for `tenant_used`.
more_annotations = {}


def row_annotations():
    """Return the annotations {name: expression} of a tenant's row.

    They are read in the same round trip.
    """
    found = getattr(tenant_model(), "lookup_annotations", dict)()
    for annotations in more_annotations.values():
        found |= annotations()
    return found


class _IsSlug(Func):
    """The condition that a text is a valid slug."""

    output_field = BooleanField()

    def as_sql(self, compiler, connection, **extra):
        (column,) = self.get_source_expressions()
        sql, params = compiler.compile(column)
        return f"({SLUG_SQL.format(sql)})", [*params] * 4


def with_valid_slugs(tenants=None):
    """Return those tenants of a queryset, by default of all, whose slugs are valid.

    Nothing keeps a project from a row with another slug, which no database can have.
    """
    if tenants is None:
        tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    return tenants.filter(_IsSlug("slug"))


def registered_slugs(tenants=None):
    """Return the sorted valid slugs of all tenants, or of the queryset `tenants`.

    Reads them in chunks, with one round trip each.
    """
    slugs = with_valid_slugs(tenants).order_by("slug").values_list("slug", flat=True)
    found = list(slugs[:CHUNK])
    while found and len(found) % CHUNK == 0 and (more := list(slugs.filter(slug__gt=found[-1])[:CHUNK])):
        found += more
    return found


def is_registered(slug):
    """Return whether D1 has a tenant with this slug; takes one round trip."""
    return tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).filter(slug=slug).exists()


def no_such_tenant(*slugs):
    """Return the text about slugs that no tenant has, and what to do."""
    if len(slugs) == 1:
        return (
            f"Tenant {slugs[0]!r} does not exist. Check the slug with `manage.py list_tenants`, or run "
            f"`manage.py create_tenant {slugs[0]}`."
        )
    names = ", ".join(map(repr, slugs))
    return f"The tenants {names} do not exist. Check the slugs with `manage.py list_tenants`."


class TenantLookup:
    """A bounded, short-lived cache of tenants' rows; missing tenants are not cached."""

    def __init__(self, clock=time.monotonic):
        #: Called with each row that was read; `get` passes its exceptions on.
        self.check = None
        #: Returns annotations {name: expression} of the row for `check`.
        self.annotations = dict
        self._clock = clock
        self._rows = OrderedDict()
        self._lock = Lock()

    def get(self, slug):
        """Return a copy of the tenant's row, or None if the tenant does not exist.

        Raises InvalidSlug, and the exceptions of `check`.
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

    def forget(self, slug=None):
        """Remove one tenant or all from the cache.

        Returns whether there was anything to remove.
        """
        with self._lock:
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
    # Forget all tenants, because the slug itself may have changed.
    lookup.forget()


def watch_tenants():
    """Empty the cache when this process saves or deletes a tenant."""
    post_save.connect(_forget_changed, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_saved")
    post_delete.connect(_forget_changed, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_deleted")
