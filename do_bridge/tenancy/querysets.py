"""Refuses querysets that would take rows of one tenant, or their keys, into another tenant's database."""

from collections.abc import Set, ValuesView
from functools import wraps

from django.db import router
from django.db.models import Model, Q, QuerySet, Subquery
from django.db.models.sql import Query

from .context import TenantMismatch
from .slugs import is_tenant_side

# What a lookup may be given with rows in it, and can be read twice.
_SEVERAL = (list, tuple, Set, ValuesView)


class BoundAlias(str):
    """The alias that a queryset has by the context in which it was made, and not by `using`."""

    __slots__ = ()

    def __reduce__(self):
        return str, (str(self),)


def guard_querysets():
    """Make Django ask here before each bulk write, filter, combination and subquery; may be called again.

    `save()` asks the routers about its row; `bulk_create`, `bulk_update` and `update` do not, nor does
    `filter(post=…)`, which takes another tenant's post for the one that has the same key here.
    """
    if hasattr(QuerySet.bulk_create, "__wrapped__"):
        return
    for name in ("bulk_create", "bulk_update"):
        setattr(QuerySet, name, _guarded_rows(getattr(QuerySet, name)))
    QuerySet.update = _guarded_values(QuerySet.update)
    QuerySet.db = property(_plain(QuerySet.db.fget), doc=QuerySet.db.__doc__)
    QuerySet._filter_or_exclude = _guarded_filter(QuerySet._filter_or_exclude)
    for name in ("_merge_sanity_check", "_combinator_query"):
        setattr(QuerySet, name, _guarded_merge(getattr(QuerySet, name)))
    Subquery.__init__ = _noting_alias(Subquery.__init__)
    Query.as_sql = _guarded_inner(Query.as_sql)


def _plain(db):
    @wraps(db)
    def plain(self):
        # Rows and connections get their alias from here, and are to be named in `using` by anybody.
        return str(db(self))

    return plain


def _guarded_rows(write):
    @wraps(write)
    def guarded(self, objs, *args, **kwargs):
        objs = list(objs)
        # Whoever says `using` means a copy.
        if self._db is None or isinstance(self._db, BoundAlias):
            _refuse_rows(self, {obj._state.db for obj in objs})
        return write(self, objs, *args, **kwargs)

    return guarded


def _refuse_rows(queryset, aliases):
    if not aliases - {None, queryset._db}:
        return
    alias = _target(queryset)
    for other in map(str, aliases - {None, alias}):
        if is_tenant_side(alias) or is_tenant_side(other):
            raise TenantMismatch(
                f"{queryset.model._meta.label} rows of {other!r} were to be written into {alias!r}. Enter "
                f"their own context, or say using({alias!r}) where a copy is meant."
            )


def _guarded_values(update):
    @wraps(update)
    def guarded(self, **values):
        for name, value in values.items():
            if isinstance(value, Model) and is_tenant_side(value._state.db):
                refuse_relation(self, name, value)
        return update(self, **values)

    return guarded


def refuse_relation(queryset, name, value):
    """Raise TenantMismatch where the row `value` is not of the database to which the queryset goes."""
    alias, other = _target(queryset), str(value._state.db)
    if other != alias:
        raise TenantMismatch(
            f"{queryset.model._meta.label}.{name} was to mean a row of {other!r} in {alias!r}, where its "
            f"key may be another row's. Read that row from {alias!r}, or go by its key."
        )


def _guarded_filter(filter_or_exclude):
    @wraps(filter_or_exclude)
    def guarded(self, negate, args, kwargs):
        # Whoever says `using` compares keys on purpose: those of people are the same in all tenants.
        if isinstance(self._db, BoundAlias):
            for name, value in [*kwargs.items(), *_conditions(args)]:
                for row in value if isinstance(value, _SEVERAL) else (value,):
                    if isinstance(row, Model) and is_tenant_side(row._state.db):
                        refuse_relation(self, name, row)
        return filter_or_exclude(self, negate, args, kwargs)

    return guarded


def _guarded_merge(merge):
    @wraps(merge)
    def guarded(self, *others, **kwargs):
        # Django sends both sides to the first one's database; of `none() | other` the other is left.
        for other in others:
            one, two = self._db, getattr(other, "_db", None)
            if None not in (one, two) and one != two and (is_tenant_side(one) or is_tenant_side(two)):
                raise TenantMismatch(
                    f"{self.model._meta.label} querysets of {str(one)!r} and {str(two)!r} were to become "
                    "one, which would be answered by one of them. Read each by itself."
                )
        return merge(self, *others, **kwargs)

    return guarded


def _noting_alias(make):
    @wraps(make)
    def noting(self, queryset, *args, **kwargs):
        make(self, queryset, *args, **kwargs)
        if isinstance(queryset, QuerySet):
            # Where QuerySet.resolve_expression() notes it, too.
            self.query._db = queryset._db

    return noting


def _guarded_inner(as_sql):
    @wraps(as_sql)
    def guarded(self, compiler, connection):
        # Of an inner query alone: its SQL becomes part of the outer one's, whose database answers.
        alias = getattr(self, "_db", None)
        own = connection.alias
        if alias not in (None, own) and (is_tenant_side(alias) or is_tenant_side(own)):
            raise TenantMismatch(
                f"A subquery of {self.model._meta.label} made for {str(alias)!r} was to be answered by "
                f"{own!r}, from its own rows. Make it in the context of {own!r}, or read its keys first."
            )
        return as_sql(self, compiler, connection)

    return guarded


def _conditions(args):
    """Return the (name, value) pairs in Q objects, however deep."""
    for arg in args:
        if isinstance(arg, Q):
            yield from _conditions(arg.children)
        elif isinstance(arg, tuple):
            yield arg


def _target(queryset):
    return str(queryset._db or router.db_for_write(queryset.model, **queryset._hints))
