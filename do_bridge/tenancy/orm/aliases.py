"""How a queryset came to its database: by `using`, by the row that it starts from, or by the context.

The alias is in `QuerySet._db` and, for the compiler, in `Query._db`, where Django itself notes that of a
subquery. An alias by `using` is a plain str.
"""

from django.db.models import QuerySet

from do_bridge.tenancy.context import TenantMismatch, current
from do_bridge.tenancy.slugs import is_tenant_side


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


def is_chosen(alias):
    """Say whether `using` chose the alias: conditions then take rows of any database for their keys."""
    return alias is not None and not isinstance(alias, BoundAlias)


def query_alias(query):
    """Return the alias that the queryset of a Query has, or None."""
    return getattr(query, "_db", None)


def involve_tenants(*aliases):
    """Say whether these are different databases of which one is a tenant's."""
    return len(set(aliases)) > 1 and any(map(is_tenant_side, aliases))


def refuse_reading(queryset):
    """Raise TenantMismatch if the queryset was made in one context and is read inside another tenant."""
    own, scope = queryset._db, current()
    if not scope.is_tenant or not isinstance(own, ContextAlias) or own == scope.alias:
        return
    if isinstance(queryset, QuerySet) and queryset.query.is_empty():
        return  # none() sends nothing
    raise TenantMismatch(
        f"A queryset of {queryset.model._meta.label} was made for {str(own)!r} but is read while tenant "
        f"{scope.slug!r} is current. Make the queryset inside the tenant that reads it, or choose its "
        f"database with using({str(own)!r})."
    )
