"""Keeps `refresh_from_db()` in the row's own database, also with a queryset from elsewhere."""

from functools import wraps

from django.db.models import Model

from .guards import guard
from .managers import detached
from .querysets import BoundAlias, refuse_rows_of
from .routers import related_alias


def guard_refreshing():
    """Look at the queryset that `refresh_from_db(from_queryset=…)` is given; may be called again."""
    guard(Model, "refresh_from_db", _refreshing)


def _refreshing(refresh):
    @wraps(refresh)
    def refreshing(self, using=None, fields=None, from_queryset=None):
        alias = related_alias(self, self.__class__)
        if from_queryset is not None and using is None and alias is not None:
            if from_queryset._db is None:
                from_queryset = detached(from_queryset, BoundAlias(alias))
            else:
                refuse_rows_of(from_queryset, alias)
        return refresh(self, using, fields, from_queryset)

    return refreshing
