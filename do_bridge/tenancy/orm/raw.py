"""Raw querysets that choose their database when they are read.

Django's choose it when they are made.
"""

from django.db import router
from django.db.models.query import RawQuerySet
from django.db.models.sql import RawQuery

from do_bridge.tenancy.conf import conf

from .aliases import refuse_reading
from .results import ResultsByContext


class TenantRawQuerySet(ResultsByContext, RawQuerySet):
    """A raw queryset of a tenant model.

    It delegates to a plain one for the current database.
    """

    def __init__(self, raw_query, model=None, query=None, params=(), **kwargs):
        # A placeholder, so that Django does not call the routers now. Nothing is sent to it.
        query = query or RawQuery(sql=raw_query, using=conf("DIRECTORY_ALIAS"), params=params)
        super().__init__(raw_query, model, query, params, **kwargs)

    @property
    def db(self):
        """The alias that a read would use now. Raises NoTenant and TenantMismatch."""
        refuse_reading(self)
        return str(self._db or router.db_for_read(self.model))

    @property
    def columns(self):
        """The names of the statement's columns."""
        return self.using(self.db).columns

    def iterator(self):
        yield from self.using(self.db).iterator()

    def using(self, alias):
        """Return a plain RawQuerySet that reads `alias`."""
        plain = super().using(str(alias))
        plain._prefetch_related_lookups = self._prefetch_related_lookups
        return plain
