"""The database routers for tenant models and for all other models."""

from __future__ import annotations

from typing import Any

from .conf import conf
from .context import NoTenant, TenantMismatch, current
from .databases import tenant_databases
from .replicated.users import allow_relation, is_full, is_user, is_user_model
from .sides import follows_context, is_tenant_model
from .slugs import alias_slug, is_tenant_side


def row_alias(row: Any) -> Any:
    """Return the alias of the only database that a row belongs to, or None.

    A row of a tenant's database belongs to that database, and a row of a tenant model to the one that it was
    read from. Other rows of D1, such as users, stand for the same thing everywhere.
    """
    alias = getattr(getattr(row, "_state", None), "db", None)
    if alias is None:
        return None
    model = row.__class__  # not type(): request.user is a lazy object
    return alias if is_tenant_side(alias) or follows_context(model) else None


def related_alias(row: Any, model: Any) -> Any:
    """Return the alias of rows of `model` related to `row`, or None for D1.

    It is the alias of the row itself. A user's copy is an exception: its groups, permissions and other rows
    of shared models are only in D1.
    """
    alias = row_alias(row)
    if alias is None or not is_tenant_side(alias) or not is_user(row):
        return alias
    if follows_context(model) or (is_user_model(model) and not is_full(row)):
        return alias
    return None


def hinted_alias(hints: Any, model: Any) -> Any:
    """Return the alias of rows related to the hint `instance`, or None."""
    return related_alias(hints.get("instance"), model)


def check_same_tenant(alias: str, model: Any) -> Any:
    """Raise TenantMismatch if `alias` is not the current database.

    It is called before a row of `alias` is written.
    """
    scope = current()
    if scope.alias is not None and scope.alias != alias:
        where = f"tenant {scope.slug!r}" if scope.is_tenant else "directory_context()"
        raise TenantMismatch(
            f"A {model._meta.label} row of {alias!r} can't be written or related while {where} is current. "
            f"Enter tenant_context({alias_slug(alias)!r}) first, or pass using={alias!r}."
        )


def _used(alias):
    """Mark a tenant's alias as recently used, so that its connection stays open.

    Returns the alias.
    """
    if is_tenant_side(alias) and (databases := tenant_databases()) is not None:
        databases.touch(alias)
    return alias


class _Router:
    """The rules for relations and migrations, which both routers share."""

    def allow_relation(self, obj1: Any, obj2: Any, **hints: Any) -> bool | None:
        return allow_relation(obj1, obj2)

    def allow_migrate(self, db: str, app_label: str, model_name: Any = None, **hints: Any) -> bool | None:
        databases = tenant_databases()
        if databases is not None and db == databases.template and dict.get(databases, db) is not None:
            return False  # Nothing connects to the template, not even to read its migrations.
        # D1 and the tenants have the same schema, because Django's delete collector expects every table.
        return True if is_tenant_side(db) or db == conf("DIRECTORY_ALIAS") else None


class TenantRouter(_Router):
    """Route tenant models to the current tenant's database.

    Raises NoTenant without one.
    """

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        if not follows_context(model):
            return None
        return _used(hinted_alias(hints, model) or self._by_context(model))

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        if not follows_context(model):
            return None
        own = hinted_alias(hints, model)
        if own is None:
            return _used(self._by_context(model))
        check_same_tenant(own, model)
        return _used(own)

    def _by_context(self, model):
        alias = current().alias
        if alias is not None:
            return alias
        if not is_tenant_model(model):
            return conf("DIRECTORY_ALIAS")
        raise NoTenant(
            f"The rows of {model._meta.label} are in the tenants' databases, and no tenant is current. Use "
            "tenant_context(slug) or using('tenant/<slug>'). For rows in the shared database use "
            "directory_context()."
        )


class DirectoryRouter(_Router):
    """Route all other models to D1, unless the hinted instance belongs to a tenant."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return _used(hinted_alias(hints, model) or self._of_new_row(hints) or self._directory(model))

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        own = hinted_alias(hints, model)
        if own is None:
            return self._directory(model)
        check_same_tenant(own, model)
        return _used(own)

    @staticmethod
    def _of_new_row(hints):
        """Return the current tenant's alias for a new row of a tenant model.

        The row is the hint `instance`.
        """
        instance, scope = hints.get("instance"), current()
        is_new = instance is not None and instance._state.db is None and is_tenant_model(instance.__class__)
        return scope.alias if is_new and scope.is_tenant else None

    @staticmethod
    def _directory(model):
        # RunPython code without `using` must not write to D1 once for each migrated tenant.
        if current().is_migration and model.__module__ == "__fake__":
            return current().alias
        return conf("DIRECTORY_ALIAS")
