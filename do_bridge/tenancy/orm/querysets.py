"""Querysets that refuse rows of another tenant's database."""

from django.db import router
from django.db.models import Model

from do_bridge import django_compat
from do_bridge.backends.remote_sqlite import prefetching
from do_bridge.tenancy.context import TenantMismatch, current
from do_bridge.tenancy.replicated.users import has_same_key, is_user, need_copy
from do_bridge.tenancy.routers import check_same_tenant, hinted_alias
from do_bridge.tenancy.sides import follows_context
from do_bridge.tenancy.slugs import is_tenant_side

from .aliases import BoundAlias, involve_tenants, is_chosen, refuse_reading
from .last_writes import ends_with_insert, ends_with_save, ends_with_update
from .lookups import building, row_mismatch
from .mixing import mixed, remake
from .raw import TenantRawQuerySet
from .results import ResultsByContext
from .statements import reads_copies


def detached(queryset, alias):
    """Return an unread copy of the queryset that runs on `alias`.

    With None the routers choose the database. Later changes of the copy do not affect the given queryset,
    which may be shared.
    """
    copy = remake(BoundQuerySet, _base(type(queryset)))
    copy.__dict__.update(queryset.__dict__)
    copy._query = queryset._query.clone()
    copy._db = copy._query._db = alias
    copy._hints = {} if alias is None else dict(queryset._hints)
    copy._result_cache = None
    copy._prefetch_done = False
    copy._for_write = False
    return copy


def bound_class(queryset_class):
    """Return a subclass of the given QuerySet class that refuses other tenants' rows."""
    return mixed(BoundQuerySet, _base(queryset_class))


def _base(queryset_class):
    return getattr(queryset_class, "do_bridge_base", queryset_class)


def _combining(name):
    def combining(self, *others, **kwargs):
        # Django runs the combined query on the first one's database; `none() | other` is just `other`.
        for other in others:
            one, two = self._db, getattr(other, "_db", None)
            if None not in (one, two) and involve_tenants(one, two):
                raise TenantMismatch(
                    f"{self.model._meta.label} querysets of {str(one)!r} and {str(two)!r} can't be combined, "
                    "because one query runs on one database. Read each of them, and combine the rows in "
                    "Python."
                )
        return getattr(super(BoundQuerySet, self), name)(*others, **kwargs)

    return combining


class BoundQuerySet(ResultsByContext):
    """A mixin for the querysets of models with rows in tenants' databases."""

    def __reduce__(self):
        return remake, (BoundQuerySet, self.do_bridge_base), self.__getstate__()

    @property
    def db(self):
        """The alias for the next statement. Raises NoTenant and TenantMismatch."""
        own = self._db
        if own is None:
            # The managers have bound all querysets that start from a tenant's row. So this hint was added
            # later, for another clone of this queryset.
            if self._hints and hinted_alias(self._hints, self.model) is not None:
                return (router.db_for_write if self._for_write else router.db_for_read)(self.model)
            if not self._for_write and reads_copies(self):
                return current().alias
        elif self._for_write and not is_chosen(own):
            try:
                check_same_tenant(str(own), self.model)
            except TenantMismatch:
                self._for_write = False  # Django set it for this write, and later reads would use it
                raise
        else:
            refuse_reading(self)
        # A plain str, because rows and connections copy this alias, and code may pass it to using().
        return str(super().db)

    def using(self, alias):
        clone = super().using(alias)
        clone._query._db = alias
        return clone

    def raw(self, raw_query, params=(), translations=None, using=None):
        if using is not None or not follows_context(self.model):
            return super().raw(raw_query, params, translations, using)
        made = TenantRawQuerySet(
            raw_query, self.model, params=params, translations=translations, using=self._db
        )
        made._prefetch_related_lookups = self._prefetch_related_lookups[:]
        django_compat.copy_fetch_mode(self, made)
        return made

    def _prefetch_related_objects(self):
        # Without this method Django would prefetch one relation after the other.
        prefetching.prefetch(self._result_cache, *self._prefetch_related_lookups)
        self._prefetch_done = True

    # The routers check `save()`. The methods below use only keys, which are other rows' in another tenant.
    # Conditions are checked when they are built, if the database is known by then, and again when they are
    # compiled: see `lookups` and `statements`.

    def filter(self, *args, **kwargs):
        return building(self, super().filter, *args, **kwargs)

    def exclude(self, *args, **kwargs):
        return building(self, super().exclude, *args, **kwargs)

    def complex_filter(self, filter_obj):
        return building(self, super().complex_filter, filter_obj)

    def bulk_create(self, objs, batch_size=None, *args, **kwargs):
        rows = _own_rows(self, objs)
        with ends_with_insert(self.model, _target(self), rows, batch_size):
            return super().bulk_create(rows, batch_size, *args, **kwargs)

    def bulk_update(self, objs, fields, batch_size=None):
        rows = _own_rows(self, objs)
        with ends_with_update(self.model, _target(self), rows, fields, batch_size):
            return super().bulk_update(rows, fields, batch_size)

    def get_or_create(self, defaults=None, **kwargs):
        with ends_with_save(self.model, _target(self), defaults, kwargs):
            return super().get_or_create(defaults, **kwargs)

    def update_or_create(self, defaults=None, create_defaults=None, **kwargs):
        with ends_with_save(self.model, _target(self), defaults, create_defaults, kwargs):
            return super().update_or_create(defaults, create_defaults, **kwargs)

    def update(self, **values):
        for name, value in values.items():
            if isinstance(value, Model):
                if is_tenant_side(value._state.db):
                    _refuse_row(self, name, value)
                if is_user(value) and is_tenant_side(alias := _target(self)):
                    need_copy(value, alias)
        return super().update(**values)

    def contains(self, obj):
        # A queryset with using() compares keys on purpose.
        if isinstance(self._db, BoundAlias) and isinstance(obj, Model) and is_tenant_side(obj._state.db):
            _refuse_row(self, "contains()", obj)
        return super().contains(obj)

    __or__ = _combining("__or__")
    __and__ = _combining("__and__")
    __xor__ = _combining("__xor__")
    union = _combining("union")
    intersection = _combining("intersection")
    difference = _combining("difference")

    for _write in (bulk_create, bulk_update, get_or_create, update_or_create, update):
        _write.alters_data = True
    del _write


def _own_rows(queryset, rows):
    rows = list(rows)
    # A queryset with using() copies the rows on purpose.
    aliases = set() if is_chosen(queryset._db) else {row._state.db for row in rows} - {None, queryset._db}
    for other in aliases:
        if involve_tenants(str(other), alias := _target(queryset)):
            raise TenantMismatch(
                f"{queryset.model._meta.label} rows of {str(other)!r} can't be written into {alias!r}. Write "
                f"them in the context of {str(other)!r}. To copy them, choose using({alias!r})."
            )
    return rows


def _refuse_row(queryset, name, row):
    alias, other = _target(queryset), str(row._state.db)
    if other != alias and not has_same_key(row, alias):
        raise row_mismatch(queryset.model, name, other, alias)


def _target(queryset):
    return str(queryset._db or router.db_for_write(queryset.model, **queryset._hints))
