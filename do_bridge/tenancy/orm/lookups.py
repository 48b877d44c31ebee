"""Refuses a row of another database in a condition, wherever in the query the condition stands.

`filter()` takes the key of a given row. In another database the same key may be a different row's.
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

# `queryset`: the one whose conditions this thread makes.
_building = local()


def building(queryset, make, *args, **kwargs):
    """Call `make`, and let the conditions that it makes know the queryset that they are for."""
    before, _building.queryset = getattr(_building, "queryset", None), queryset
    try:
        return make(*args, **kwargs)
    finally:
        _building.queryset = before


class _NotesRows:
    """Mixed into the lookups of relations: remembers where the given rows came from."""

    row_aliases = frozenset()
    user_aliases = frozenset()

    def get_prep_lookup(self):
        if self.rhs_is_direct_value():
            if self.lookup_name == "in":
                self.rhs = list(self.rhs)  # a generator can be read once
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
        # A query that was sent elsewhere with using() compares keys on purpose.
        aliases = self.row_aliases
        if connection.alias != conf("DIRECTORY_ALIAS"):
            # There a user's copy stands for the user, who has the same key.
            aliases |= self.user_aliases
        if aliases and not is_chosen(query_alias(compiler.query)):
            for other in aliases - {connection.alias}:
                raise self._mismatch(other, connection.alias)
        return super().as_sql(compiler, connection)


def register_lookups():
    """Let conditions on relations, in any query, check where the given rows came from."""
    for lookup in list(ForeignObject.get_class_lookups().values()):
        if not issubclass(lookup, _NotesRows):
            ForeignObject.register_lookup(type(lookup.__name__, (_NotesRows, lookup), {}))


def _rows_in(value):
    """Return the model instances that a condition was given: one, or several in any collection."""
    if isinstance(value, int | str | bytes):
        return ()  # nearly every value
    if isinstance(value, Model):
        return (value,)
    return [item for item in value if isinstance(item, Model)] if isinstance(value, Iterable) else ()


def row_mismatch(model, name, other, alias):
    """Return the TenantMismatch for a row of `other` in the condition `name` of a query on `alias`."""
    return TenantMismatch(
        f"{model._meta.label}.{name}: the given row was loaded from {str(other)!r} but the query runs on "
        f"{str(alias)!r}. Load it from {str(alias)!r}, or filter by primary key."
    )
