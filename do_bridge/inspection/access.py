"""Permissions for databases, tables, rows and columns."""

from functools import wraps

from django.db import DatabaseError
from django.http import Http404
from django.shortcuts import render

from do_bridge import driver
from do_bridge.admin.refusals import PermissionMissing
from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.tenants import is_registered, lookup

from .reading.differences import models_of

LOOK = "do_bridge.view_tenantstate"
RUN_SQL = "do_bridge.run_sql"
CHANGE = "do_bridge.change_tenantstate"
# With these values a reader could log in as somebody else.
_SECRET_TABLES = {"django_session", "do_bridge_sessions_session"}
_SECRET_COLUMNS = {"password"}


def may_look(user):
    """Return whether `user` may see which databases exist and how they are built."""
    return user.is_active and user.is_staff and user.has_perm(LOOK)


def may_run_sql(user):
    """Return whether `user` may write SQL, which shows every row of every table."""
    return user.is_active and user.is_superuser and user.has_perm(RUN_SQL)


def require_sql(user):
    """Raise PermissionMissing if `user` may not write SQL."""
    if may_run_sql(user):
        return
    needed = RUN_SQL if not user.has_perm(RUN_SQL) else "superuser status"
    raise PermissionMissing(needed)


def may_read_rows(user, database, table):
    """Return whether `user` may see the rows of a table.

    This needs the view permission of its model, or the permission to run SQL.
    """
    return user.has_perm(_rows_permission(database, table))


def require_rows(user, database, table):
    """Raise PermissionMissing if `user` may not see the rows of a table."""
    needed = _rows_permission(database, table)
    if not user.has_perm(needed):
        raise PermissionMissing(needed)


def _rows_permission(database, table):
    model = models_of(database.alias).get(table)
    if model is None or model._meta.auto_created:
        return RUN_SQL
    return f"{model._meta.app_label}.view_{model._meta.model_name}"


def secret_columns(table):
    """Return the names of the columns whose values are never shown."""
    if table.name in _SECRET_TABLES:
        return {column.name for column in table.columns}
    return {column.name for column in table.columns if column.name in _SECRET_COLUMNS}


def check_scope(database):
    """Raise Http404 for a database that this site does not show.

    Inside a tenant that is every other database.
    """
    inside = current_tenant()
    if inside is not None and database.slug != inside:
        raise Http404("This admin shows only its own tenant's database.")
    try:
        is_there = not database.slug or lookup.get(database.slug) is not None
    except DatabaseError:
        # Visitors are refused until an operation has ended or the object answers. The operator, who repairs
        # the tenant, is not.
        is_there = is_registered(database.slug)
    if not is_there:
        raise Http404("This tenant does not exist.")


def inspection(view):
    """Decorate a view with the permission check and the page for failures."""

    @wraps(view)
    def guarded(site, request, **kwargs):
        if not may_look(request.user):
            raise PermissionMissing(LOOK)
        database = kwargs.get("database")
        if database is not None:
            check_scope(database)
        request.current_app = site.name
        try:
            return view(site, request, **kwargs)
        except driver.Error as error:
            if database is None:
                raise
            context = page_context(site, request, database, title=f"{database.label} does not answer")
            context["error"] = str(error)
            return render(request, "do_bridge/inspection/unreachable.html", context, status=503)

    return guarded


def page_context(site, request, database=None, **context):
    """Return the context of a page about `database`, or about all of them."""
    # Without Django's list of models these pages have the whole width.
    context = {
        **site.each_context(request),
        "database": database,
        "is_nav_sidebar_enabled": False,
        **context,
    }
    if database is not None:
        # Of the database that is shown, which need not be the site's.
        context["database_name"] = context["site_header"] = context["site_title"] = database.label
        context["database_is_tenant"] = bool(database.slug)
        context["may_run_sql"] = may_run_sql(request.user)
    return context
