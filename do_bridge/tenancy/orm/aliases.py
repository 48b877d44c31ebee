"""The aliases of querysets, whose class shows where the alias comes from.

A plain str comes from `using()`, a BoundAlias from the row that the queryset starts from, and a ContextAlias
from the context. The alias is in `QuerySet._db` and, for the compiler, in `Query._db`, where Django itself
stores the alias of a subquery.
"""

from django.db.models import QuerySet

from do_bridge.tenancy.context import TenantMismatch, current
from do_bridge.tenancy.slugs import is_tenant_side


class BoundAlias(str):
    """The alias of a queryset that was made from a row, not with `using()`."""

    __slots__ = ()

    def __reduce__(self):
        return type(self), (str(self),)

    def __deepcopy__(self, memo):
        return self


class ContextAlias(BoundAlias):
    """The alias of the context in which a queryset was made."""

    __slots__ = ()


def is_chosen(alias):
    """Return whether the alias comes from `using()`.

    Then conditions accept rows of any database.
    """
    return alias is not None and not isinstance(alias, BoundAlias)


def query_alias(query):
    """Return the alias of a Query's queryset, or None."""
    return getattr(query, "_db", None)


def involve_tenants(*aliases):
    """Return whether the aliases differ and at least one is a tenant's."""
    return len(set(aliases)) > 1 and any(map(is_tenant_side, aliases))


def refuse_reading(queryset):
    """Raise TenantMismatch if a queryset of another context is read in a tenant."""
    own, scope = queryset._db, current()
    if not scope.is_tenant or not isinstance(own, ContextAlias) or own == scope.alias:
        return
    if isinstance(queryset, QuerySet) and queryset.query.is_empty():
        return  # none() sends no query
    raise TenantMismatch(
        f"A queryset of {queryset.model._meta.label} was made for {str(own)!r} but is read while tenant "
        f"{scope.slug!r} is current. Make the queryset inside the tenant that reads it, or choose its "
        f"database with using({str(own)!r})."
    )
