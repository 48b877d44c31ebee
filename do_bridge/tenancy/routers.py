"""The two database routers: tenant models go where the context says, everything else to the directory."""

from .conf import conf
from .context import NoTenant, TenantMismatch, current
from .databases import tenant_databases
from .replicated.users import allow_relation, is_full, is_user, is_user_model
from .sides import follows_context, is_tenant_model
from .slugs import alias_slug, is_tenant_side


def row_alias(row):
    """Return the database that a row belongs to alone, or None for one that is the same person everywhere.

    That is a tenant's database for each of its rows, and any database for a row of a tenants' model.
    """
    alias = getattr(getattr(row, "_state", None), "db", None)
    if alias is None:
        return None
    model = row.__class__  # not type(): request.user is a lazy object
    return alias if is_tenant_side(alias) or follows_context(model) else None


def related_alias(row, model):
    """Return the database that rows of `model` related to `row` belong to, or None for the directory's own.

    It is the row's own, except for a user's copy: the object has a copy of the user alone, without groups,
    permissions or whatever else of the directory is the user's.
    """
    alias = row_alias(row)
    if alias is None or not is_tenant_side(alias) or not is_user(row):
        return alias
    if follows_context(model) or (is_user_model(model) and not is_full(row)):
        return alias
    return None


def hinted_alias(hints, model):
    """Return the alias of the `model`'s rows that belong to the row in the hint `instance`, or None."""
    return related_alias(hints.get("instance"), model)


def check_same_tenant(alias, model):
    """Raise TenantMismatch when a row of `alias` is to be written while another database is current."""
    scope = current()
    if scope.alias is not None and scope.alias != alias:
        where = f"tenant {scope.slug!r}" if scope.is_tenant else "the directory"
        raise TenantMismatch(
            f"A {model._meta.label} of {alias!r} was to be written or related while {where} is current. "
            f"Enter its own tenant_context({alias_slug(alias)!r}), or say using={alias!r}."
        )


def _used(alias):
    """Mark a tenant's alias as just used, so that this thread keeps its connection, and return it."""
    if is_tenant_side(alias) and (databases := tenant_databases()) is not None:
        databases.touch(alias)
    return alias


class _Router:
    """What both routers say about relations and migrations."""

    def allow_relation(self, obj1, obj2, **hints):
        return allow_relation(obj1, obj2)

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        databases = tenant_databases()
        if databases is not None and db == databases.template and dict.get(databases, db) is not None:
            return False  # The template is never connected to, and so never asked for its history either.
        # Both sides have the same schema: Django's delete collector expects every table.
        return True if is_tenant_side(db) or db == conf("DIRECTORY_ALIAS") else None


class TenantRouter(_Router):
    """Routes tenant models by the context, and refuses where none is current: no quiet way to D1."""

    def db_for_read(self, model, **hints):
        if not follows_context(model):
            return None
        return _used(hinted_alias(hints, model) or self._by_context(model))

    def db_for_write(self, model, **hints):
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
            f"{model._meta.label} lives in the tenants' databases, and no tenant is current. Use "
            "tenant_context(slug), directory_context() for the shared database's own rows, or "
            'using="tenant/<slug>".'
        )


class DirectoryRouter(_Router):
    """Routes every other model to the directory, unless an instance of a tenant's leads there."""

    def db_for_read(self, model, **hints):
        return _used(hinted_alias(hints, model) or self._of_new_row(hints) or self._directory(model))

    def db_for_write(self, model, **hints):
        own = hinted_alias(hints, model)
        if own is None:
            return self._directory(model)
        check_same_tenant(own, model)
        return _used(own)

    @staticmethod
    def _of_new_row(hints):
        """Return the current tenant's alias where the hint is a tenant model's row that is not saved yet."""
        instance, scope = hints.get("instance"), current()
        is_new = instance is not None and instance._state.db is None and is_tenant_model(instance.__class__)
        return scope.alias if is_new and scope.is_tenant else None

    @staticmethod
    def _directory(model):
        # A migration's Python code that forgets `using` must not write to D1 once for each tenant.
        if current().is_migration and model.__module__ == "__fake__":
            return current().alias
        return conf("DIRECTORY_ALIAS")
