"""Refuse rows of another database in the conditions of a query.

`filter(user=row)` compares only the row's key, which may be another row's key in another database.
"""

from collections.abc import Iterable
from threading import local

from django.db.models import ForeignObject, Model

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import TenantMismatch, current
from do_bridge.tenancy.replicated.users import has_same_key, is_user
from do_bridge.tenancy.sides import follows_context
from do_bridge.tenancy.slugs import is_tenant_side

from .aliases import is_chosen, query_alias

# `queryset`: the queryset whose conditions this thread is building.
_building = local()


def building(queryset, make, *args, **kwargs):
    """Call `make`, during which new conditions can look up their queryset."""
    before, _building.queryset = getattr(_building, "queryset", None), queryset
    try:
        return make(*args, **kwargs)
    finally:
        _building.queryset = before


class _NotesRows:
    """A mixin for lookups that records the databases of the given rows."""

    row_aliases = frozenset()
    user_aliases = frozenset()

    def get_prep_lookup(self):
        if self.rhs_is_direct_value():
            if self.lookup_name == "in":
                self.rhs = list(self.rhs)  # a generator can be read only once
            for row in _rows_in(self.rhs):
                if is_tenant_side(alias := str(row._state.db)):
                    self._refuse_early(row, alias)
                    name = "user_aliases" if is_user(row) else "row_aliases"
                    setattr(self, name, getattr(self, name) | {alias})
        return super().get_prep_lookup()

    def _refuse_early(self, row, other):
        queryset = getattr(_building, "queryset", None)
        if queryset is None or is_chosen(own := queryset._db):
            return
        alias = own or (current().alias if follows_context(queryset.model) else None)
        if alias not in (None, other) and not has_same_key(row, alias):
            raise self._mismatch(other, alias)

    def _mismatch(self, other, alias):
        field = self.lhs.output_field
        return row_mismatch(field.model, field.name, other, alias)

    def as_sql(self, compiler, connection):
        # A query with using() compares keys of another database on purpose.
        aliases = self.row_aliases
        if connection.alias != conf("DIRECTORY_ALIAS"):
            # In D1 a user's copy stands for the user, who has the same key.
            aliases |= self.user_aliases
        if aliases and not is_chosen(query_alias(compiler.query)):
            for other in aliases - {connection.alias}:
                raise self._mismatch(other, connection.alias)
        return super().as_sql(compiler, connection)


def register_lookups():
    """Make conditions on relations check the databases of the given rows."""
    for lookup in list(ForeignObject.get_class_lookups().values()):
        if not issubclass(lookup, _NotesRows):
            ForeignObject.register_lookup(type(lookup.__name__, (_NotesRows, lookup), {}))


def _rows_in(value):
    """Return the model instances in a condition's value.

    The value may be one instance or a collection.
    """
    if isinstance(value, int | str | bytes):
        return ()  # nearly every value
    if isinstance(value, Model):
        return (value,)
    return [item for item in value if isinstance(item, Model)] if isinstance(value, Iterable) else ()


def row_mismatch(model, name, other, alias):
    """Return the error for a row of another database in a condition.

    `other` is the row's database, `name` the field, and `alias` the query's database.
    """
    return TenantMismatch(
        f"{model._meta.label}.{name}: the given row was loaded from {str(other)!r} but the query runs on "
        f"{str(alias)!r}. Load it from {str(alias)!r}, or filter by primary key."
    )
