"""Refuses querysets that would take rows of one tenant, or their keys, into another tenant's database."""

from collections.abc import Iterator
from functools import wraps

from django.db import router
from django.db.models import Model, Q, QuerySet, Subquery
from django.db.models.sql import Query

from .context import TenantMismatch, current
from .guards import guard
from .lookups import row_mismatch, tenant_rows
from .namesakes import reads_copies
from .people import has_same_key, is_user, need_copy
from .routers import check_same_tenant, hinted_alias
from .slugs import is_tenant_side


class BoundAlias(str):
    """The alias that a queryset has by the row from which it was made, not by `using`."""

    __slots__ = ()

    def __reduce__(self):
        return type(self), (str(self),)

    def __deepcopy__(self, memo):
        return self


class ContextAlias(BoundAlias):
    """The alias that a queryset has by the context in which it was made."""

    __slots__ = ()


def guard_querysets():
    """Make Django ask here before each bulk write, filter, combination and subquery; may be called again.

    `save()` asks the routers about its row; `bulk_create`, `bulk_update` and `update` do not, nor does
    `filter(post=…)`, which takes another tenant's post for the one that has the same key here.
    """
    for name in ("bulk_create", "bulk_update"):
        guard(QuerySet, name, _guarded_rows)
    guard(QuerySet, "update", _guarded_values)
    guard(QuerySet, "db", _guarded_alias)
    guard(QuerySet, "using", _comparing_keys)
    guard(QuerySet, "_filter_or_exclude", _guarded_filter)
    guard(QuerySet, "complex_filter", _guarded_complex_filter)
    for name in ("_merge_sanity_check", "_combinator_query"):
        guard(QuerySet, name, _guarded_merge)
    guard(Subquery, "__init__", _noting_alias)
    guard(Query, "as_sql", _guarded_inner)


def compare_keys(queryset, *, meant=True):
    """Let the queryset's conditions take rows of any database for their keys, as `using` asks for."""
    queryset.query.compares_keys = meant


def _guarded_alias(db):
    @wraps(db)
    def alias(self):
        own = self._db
        if own is None:
            # The managers have bound what starts from a tenant's row, so a hint that is still in use was
            # added later, for somebody else's clone of this queryset.
            if self._hints and hinted_alias(self._hints, self.model) is not None:
                return (router.db_for_write if self._for_write else router.db_for_read)(self.model)
            if not self._for_write and reads_copies(self):
                return current().alias
        elif self._for_write and isinstance(own, BoundAlias):
            try:
                check_same_tenant(str(own), self.model)
            except TenantMismatch:
                self._for_write = False  # Django set it for this write, and would keep it for later reads
                raise
        else:
            refuse_reading(self)
        # Rows and connections take their alias from here, and anybody may pass it to using().
        return str(db(self))

    return alias


def refuse_reading(queryset):
    """Raise TenantMismatch if the queryset was made in one context and is read inside another tenant."""
    own, scope = queryset._db, current()
    if scope.is_tenant and isinstance(own, ContextAlias) and own != scope.alias and not _is_none(queryset):
        raise TenantMismatch(
            f"A queryset of {queryset.model._meta.label} was made for {str(own)!r} and is read while tenant "
            f"{scope.slug!r} is current. Make it where it is read, or choose its database with "
            f"using({str(own)!r})."
        )


def _is_none(queryset):
    """Whether the queryset is one of `none()`, which sends nothing."""
    return isinstance(queryset, QuerySet) and queryset.query.is_empty()


def refuse_rows_of(queryset, alias):
    """Raise TenantMismatch if the queryset, with no database chosen for it, would read a row of `alias`."""
    own = queryset._db
    if isinstance(own, BoundAlias) and own != alias:
        raise TenantMismatch(
            f"A row of {queryset.model._meta.label} from {str(alias)!r} was to be read again with a queryset "
            f"that was made for {str(own)!r}. Make the queryset with using({str(alias)!r})."
        )


def _comparing_keys(using):
    @wraps(using)
    def comparing(self, alias):
        clone = using(self, alias)
        compare_keys(clone, meant=alias is not None and not isinstance(alias, BoundAlias))
        return clone

    return comparing


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
            if isinstance(value, Model):
                _check_value(self, name, value)
        return update(self, **values)

    return guarded


def _check_value(queryset, name, row):
    if is_tenant_side(row._state.db):
        refuse_relation(queryset, name, row)
    if is_user(row) and is_tenant_side(alias := _target(queryset)):
        need_copy(row, alias)


def refuse_relation(queryset, name, value):
    """Raise TenantMismatch if the row `value` is not from the database that the queryset runs on."""
    alias, other = _target(queryset), str(value._state.db)
    if other != alias and not has_same_key(value, alias):
        raise row_mismatch(queryset.model, name, other, alias)


def _guarded_filter(filter_or_exclude):
    @wraps(filter_or_exclude)
    def guarded(self, negate, args, kwargs):
        _refuse_conditions(self, [*kwargs.items(), *_conditions(args)])
        return filter_or_exclude(self, negate, args, kwargs)

    return guarded


def _guarded_complex_filter(complex_filter):
    @wraps(complex_filter)
    def guarded(self, filter_obj):
        if isinstance(filter_obj, Q):
            _refuse_conditions(self, _conditions([filter_obj]))
        return complex_filter(self, filter_obj)

    return guarded


def _refuse_conditions(queryset, conditions):
    """Raise TenantMismatch for another tenant's row in conditions, as early as the database is known.

    The lookups check again when the query is compiled, in all its parts: see `lookups`.
    """
    explicit = queryset._db is not None and not isinstance(queryset._db, BoundAlias)
    if explicit or (queryset._db is None and current().alias is None):
        return
    for name, value in conditions:
        # A queryset is a subquery here; an iterator can be read once, by Django.
        if isinstance(value, QuerySet | Iterator):
            continue
        for row in tenant_rows(value):
            other, alias = str(row._state.db), _target(queryset)
            if other != alias and not has_same_key(row, alias):
                raise row_mismatch(queryset.model, name, other, alias)


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
