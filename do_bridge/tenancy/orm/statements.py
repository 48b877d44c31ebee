"""Check the databases and tables of each statement while it is compiled.

D1 and the tenants have the same tables. A query for users runs on D1, so a condition on their posts would
read D1's own table of posts, which is empty. That is refused, except inside `directory_context()`.
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

# `now`: the database of the statement that this thread is compiling, and the tables found in it so far. Not a
# ContextVar, which asgiref copies from a thread to its task, even during a compilation.
_statement = local()


def watch_statements():
    """Check each statement that an engine of this package compiles."""
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
    # Django compiles a query for the default database when it is printed.
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
    """Raise TenantMismatch if a subquery was made for another database."""
    own = query_alias(query)
    if own is not None and involve_tenants(own, alias):
        raise TenantMismatch(
            f"A subquery of {query.model._meta.label} was made for {str(own)!r}, but the query runs on "
            f"{str(alias)!r}. Make the subquery in the context of {str(alias)!r}, or read its keys first and "
            "pass them as a list."
        )


def _refuse_namesakes(query, inner_tables):
    scope, model, tables = current(), query.model, tenant_tables()
    # using() selects D1's own tables, in subqueries too. A query on a tenant model runs on D1 only through
    # using() or a row of D1.
    if scope.is_directory or scope.is_migration or is_chosen(query_alias(query)):
        return
    if model._meta.db_table in tables or not (found := tables & inner_tables.union(_tables_of(query))):
        return
    alias = conf("DIRECTORY_ALIAS")
    if not scope.is_tenant:
        raise NoTenant(
            f"The query on {model._meta.label} runs on {alias!r}, because no tenant is current, but it also "
            f"reads {min(found)!r}, whose rows are in the tenants' databases. Choose a tenant with "
            "using('tenant/<slug>'). For rows in the shared database use directory_context()."
        )
    raise TenantMismatch(
        f"The query on {model._meta.label} runs on {alias!r}, but it also reads {min(found)!r}, whose rows "
        f"are in the database of the current tenant {scope.slug!r}. Choose using({scope.alias!r}) for the "
        f"tenant's rows, or using({alias!r}) for those in the shared database."
    )


def reads_copies(queryset):
    """Return whether a queryset of users reads the tenant's copies.

    It does so if it joins a tenant's table.
    """
    if not conf("USERS_FROM_COPIES") or not current().is_tenant or not is_user_model(queryset.model):
        return False
    return not tenant_tables().isdisjoint(_tables_of(queryset.query))


def tenant_tables():
    """Return the names of the tables whose rows are in the tenants' databases."""
    return _tables(tuple(conf("TENANT_MODELS")), tuple(conf("CONTEXT_MODELS")))


@lru_cache(maxsize=16)
def _tables(_tenant_models, _context_models):
    models = apps.get_models(include_auto_created=True)
    return frozenset(model._meta.db_table for model in models if follows_context(model))
