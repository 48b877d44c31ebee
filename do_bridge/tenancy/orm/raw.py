"""Raw querysets that keep to their tenant: Django's choose a database when they are made."""

from django.db import router
from django.db.models.query import RawQuerySet
from django.db.models.sql import RawQuery

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import current_block

from .aliases import refuse_reading


class TenantRawQuerySet(RawQuerySet):
    """A raw queryset of a tenants' model; a plain one of the current tenant's database answers for it."""

    def __init__(self, raw_query, model=None, query=None, params=(), **kwargs):
        # Django would ask the routers now. The alias here is a placeholder, which nothing is sent to.
        query = query or RawQuery(sql=raw_query, using=conf("DIRECTORY_ALIAS"), params=params)
        super().__init__(raw_query, model, query, params, **kwargs)
        self._answers = {}

    @property
    def db(self):
        """The alias that a read now would go to. Raises NoTenant and TenantMismatch."""
        refuse_reading(self)
        return str(self._db or router.db_for_read(self.model))

    def _answer(self):
        """Return the plain RawQuerySet that has the rows of the present context."""
        alias, block = self.db, current_block()
        follows = self._db is None and block is not None
        # Rows of an unbound one are kept for the context that read them, as those of other querysets.
        answers = block.results.setdefault(self, {}) if follows else self._answers
        if alias not in answers:
            answers[alias] = self.using(alias)
        return answers[alias]

    def iterator(self):
        yield from self._answer().iterator()

    def _fetch_all(self):
        self._answer()._fetch_all()

    def __len__(self):
        return len(self._answer())

    def __bool__(self):
        return bool(self._answer())

    def __iter__(self):
        return iter(self._answer())

    def __aiter__(self):
        return self._answer().__aiter__()

    @property
    def columns(self):
        """The names of the columns that the statement gives."""
        return self._answer().columns

    def using(self, alias):
        """Return a plain RawQuerySet that reads `alias`."""
        plain = RawQuerySet(
            self.raw_query,
            model=self.model,
            query=self.query.chain(using=alias),
            params=self.params,
            translations=self.translations,
            using=alias,
        )
        plain._prefetch_related_lookups = self._prefetch_related_lookups[:]
        return plain
