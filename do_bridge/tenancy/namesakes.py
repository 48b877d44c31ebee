"""Refuses a query on the shared database that joins its empty namesake of a tenant's table.

Both sides have the same tables. A query for users goes to D1, and a condition on their posts would be
answered from D1's own table of posts, which is empty. `directory_context()` asks for just that.
"""

from contextvars import ContextVar
from functools import lru_cache, wraps

from django.apps import apps
from django.db.models.sql.compiler import SQLCompiler

from .conf import conf
from .context import NoTenant, TenantMismatch, current
from .guards import guard
from .people import is_user_model
from .routers import is_context_model, is_tenant_model

# The tables of the query that is being compiled, with those of its subqueries.
_tables_in_query = ContextVar("do_bridge_tables_in_query", default=None)


def guard_joins():
    """Look at the tables of each query that is compiled for the shared database."""
    guard(SQLCompiler, "as_sql", _looking)


def _looking(as_sql):
    @wraps(as_sql)
    def looking(self, *args, **kwargs):
        scope = current()
        if scope.is_directory or scope.is_migration or self.connection.alias != conf("DIRECTORY_ALIAS"):
            return as_sql(self, *args, **kwargs)
        outer = _tables_in_query.get()
        found = set() if outer is None else outer
        token = _tables_in_query.set(found)
        try:
            compiled = as_sql(self, *args, **kwargs)
        finally:
            _tables_in_query.reset(token)
        found.update(join.table_name for join in self.query.alias_map.values())
        # using() means the tables there, in subqueries too. A tenants' model comes here by that, or by a row.
        if outer is None and not getattr(self.query, "compares_keys", False):
            model, tables = self.query.model, tenant_tables()
            if model._meta.db_table not in tables:
                _refuse_namesakes(model, self.connection.alias, scope, found & tables)
        return compiled

    return looking


def _refuse_namesakes(model, alias, scope, tables):
    if not tables:
        return
    if not scope.is_tenant:
        raise NoTenant(
            f"{model._meta.label} is read from {alias!r} while no tenant is current, and the query names "
            f"{min(tables)!r}, whose rows are in the tenants' databases. Choose one with "
            "using('tenant/<slug>'), or use directory_context() for the shared database's own rows."
        )
    raise TenantMismatch(
        f"{model._meta.label} is read from {alias!r} while tenant {scope.slug!r} is current, and the "
        f"query names {min(tables)!r}, whose rows are in the tenant's database. Choose the database: "
        f"using({scope.alias!r}) for the tenant's rows, using({alias!r}) for the shared ones."
    )


def reads_copies(queryset):
    """Say whether a queryset of users names a tenant's table, and so is answered from the tenant's copies."""
    if not conf("USERS_FROM_COPIES") or not current().is_tenant or not is_user_model(queryset.model):
        return False
    return not tenant_tables().isdisjoint(join.table_name for join in queryset.query.alias_map.values())


def tenant_tables():
    """Return the tables whose rows are the tenants', as their models name them."""
    return _tables(*_rules())


def names_of_tenant_tables():
    """Return the same tables as `do_bridge.driver.tables` names them: unquoted and in lower case."""
    return _names(*_rules())


def _rules():
    return tuple(conf("TENANT_MODELS")), tuple(conf("CONTEXT_MODELS"))


@lru_cache(maxsize=16)
def _tables(_tenant_models, _context_models):
    return frozenset(
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if is_tenant_model(model) or is_context_model(model)
    )


@lru_cache(maxsize=16)
def _names(*rules):
    return frozenset(table.strip('"').lower() for table in _tables(*rules))
