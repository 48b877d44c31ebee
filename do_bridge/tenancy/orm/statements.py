"""Looks at each statement while it is compiled: at the databases of its parts, and at the tables it names.

Both sides have the same tables. A query for users goes to D1, and a condition on their posts would be
answered from D1's own table of posts, which is empty. `directory_context()` asks for just that.
"""

from functools import lru_cache
from threading import local

from django.apps import apps

from do_bridge.backends.remote_sqlite.queries import compiling
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.context import NoTenant, TenantMismatch, current
from do_bridge.tenancy.replicated.users import is_user_model
from do_bridge.tenancy.sides import follows_context

from .aliases import involve_tenants, is_chosen, query_alias

# `now`: of the statement that a thread compiles, its database, and the tables of all its queries so far. Not
# a ContextVar, which asgiref copies from a thread to its task, also in the middle of a compilation.
_statement = local()


def watch_statements():
    """Look at each statement that an engine of this package compiles."""
    compiling.install(_compiled)


def _compiled(compiler, compile_sql):
    outer, query = getattr(_statement, "now", None), compiler.query
    if outer is not None:
        alias, found = outer
        _refuse_alias(query, alias)
        sql = compile_sql()
        found.update(_tables_of(query))
        return sql
    found = set()
    # For being printed, Django compiles any query for the default database.
    _statement.now = query_alias(query) or compiler.connection.alias, found
    try:
        sql = compile_sql()
    finally:
        _statement.now = None
    if compiler.connection.alias == conf("DIRECTORY_ALIAS"):
        _refuse_namesakes(query, found)
    return sql


def _tables_of(query):
    return (join.table_name for join in query.alias_map.values())


def _refuse_alias(query, alias):
    """Raise TenantMismatch if an inner query was made for another database than the one that answers."""
    own = query_alias(query)
    if own is not None and involve_tenants(own, alias):
        raise TenantMismatch(
            f"A subquery of {query.model._meta.label} made for {str(own)!r} was to be answered by "
            f"{str(alias)!r}, from its own rows. Make it in the context of {str(alias)!r}, or read its keys "
            "first."
        )


def _refuse_namesakes(query, inner_tables):
    scope, model, tables = current(), query.model, tenant_tables()
    # using() means the tables there, in subqueries too. A tenants' model comes here by that, or by a row.
    if scope.is_directory or scope.is_migration or is_chosen(query_alias(query)):
        return
    if model._meta.db_table in tables or not (found := tables & inner_tables.union(_tables_of(query))):
        return
    alias = conf("DIRECTORY_ALIAS")
    if not scope.is_tenant:
        raise NoTenant(
            f"{model._meta.label} is read from {alias!r} while no tenant is current, and the query names "
            f"{min(found)!r}, whose rows are in the tenants' databases. Choose one with "
            "using('tenant/<slug>'), or use directory_context() for the shared database's own rows."
        )
    raise TenantMismatch(
        f"{model._meta.label} is read from {alias!r} while tenant {scope.slug!r} is current, and the "
        f"query names {min(found)!r}, whose rows are in the tenant's database. Choose the database: "
        f"using({scope.alias!r}) for the tenant's rows, using({alias!r}) for the shared ones."
    )


def reads_copies(queryset):
    """Say whether a queryset of users names a tenant's table, and so is answered from the tenant's copies."""
    if not conf("USERS_FROM_COPIES") or not current().is_tenant or not is_user_model(queryset.model):
        return False
    return not tenant_tables().isdisjoint(_tables_of(queryset.query))


def tenant_tables():
    """Return the tables whose rows are the tenants', as their models name them."""
    return _tables(tuple(conf("TENANT_MODELS")), tuple(conf("CONTEXT_MODELS")))


@lru_cache(maxsize=16)
def _tables(_tenant_models, _context_models):
    models = apps.get_models(include_auto_created=True)
    return frozenset(model._meta.db_table for model in models if follows_context(model))
