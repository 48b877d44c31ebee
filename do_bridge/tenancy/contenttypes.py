"""Keeps content types and permissions under the same primary keys in every tenant as in the directory."""

from threading import Lock

from django.apps import apps
from django.db import DatabaseError, connections
from django.db.models.signals import post_migrate

from .conf import conf
from .copies import run_batch, upsert_statements
from .slugs import alias_slug, is_tenant_side

CONTENT_TYPE_COLUMNS = ("id", "app_label", "model")
PERMISSION_COLUMNS = ("id", "name", "content_type_id", "codename")

_lock = Lock()
_known = {}


class DirectoryNotReady(DatabaseError):
    """The directory has no content types to copy, because nobody has migrated it yet."""


def copy_content_types(alias):
    """Write the directory's content types and permissions into the tenant `alias`, in one trip."""
    statements = content_type_statements(connections[alias])
    if statements:
        run_batch(connections[alias], statements)


def content_type_statements(connection):
    """Return the statements that write the directory's content types and permissions."""
    statements = []
    # Content types come first: permissions point at them.
    for model, columns, rows in directory_rows():
        if rows:
            statements += upsert_statements(connection, model._meta.db_table, columns, rows, key="id")
    return statements


def directory_rows():
    """Return [(model, columns, rows)] of the directory, created there first where a model is new."""
    with _lock:
        if "rows" not in _known:
            rows = _read_directory()
            if missing := _missing_app_configs(rows):
                _create_in_directory(missing)
                rows = _read_directory()
            _known["rows"] = rows
        return _known["rows"]


def forget_directory_rows():
    """Read the directory's rows again when they are needed next."""
    with _lock:
        _known.clear()


def _models():
    if not apps.is_installed("django.contrib.contenttypes"):
        return []
    models = [(apps.get_model("contenttypes", "ContentType"), CONTENT_TYPE_COLUMNS)]
    if apps.is_installed("django.contrib.auth"):
        models.append((apps.get_model("auth", "Permission"), PERMISSION_COLUMNS))
    return models


def _read_directory():
    directory = conf("DIRECTORY_ALIAS")
    connection = connections[directory]
    quote = connection.ops.quote_name
    models = _models()
    if not models:
        return []
    selects = [
        f"SELECT {', '.join(map(quote, columns))} FROM {quote(model._meta.db_table)} ORDER BY 1"  # noqa: S608
        for model, columns in models
    ]
    try:
        results = [result.rows for result in run_batch(connection, [(sql, None) for sql in selects])]
    except DatabaseError as error:
        if "no such table" in str(error):
            raise DirectoryNotReady(
                f"The directory has no content types yet. Run `migrate --database {directory}` first."
            ) from error
        raise
    return [(model, columns, rows) for (model, columns), rows in zip(models, results, strict=True)]


def _missing_app_configs(tables):
    """Return the app configs with a model whose content type, or a permission of it, the directory lacks."""
    if not tables:
        return []
    types = {(label, model): pk for pk, label, model in tables[0][2]}
    permissions = {(row[2], row[3]) for row in tables[1][2]} if len(tables) > 1 else None
    missing = []
    for app_config in apps.get_app_configs():
        if app_config.models_module and any(
            not _is_complete(model, types, permissions) for model in app_config.get_models()
        ):
            missing.append(app_config)
    return missing


def _is_complete(model, types, permissions):
    key = types.get((model._meta.app_label, model._meta.model_name))
    if key is None or permissions is None:
        return key is not None
    from django.contrib.auth.management import _get_all_permissions

    return all((key, codename) in permissions for codename, _ in _get_all_permissions(model._meta))


def _create_in_directory(app_configs):
    from django.contrib.contenttypes.management import create_contenttypes

    create = create_contenttypes
    if apps.is_installed("django.contrib.auth"):
        from django.contrib.auth.management import create_permissions

        create = create_permissions
    for app_config in app_configs:
        create(app_config, verbosity=0, interactive=False, using=conf("DIRECTORY_ALIAS"))


# Signals


def take_over_post_migrate():
    """Replace Django's two row-by-row handlers by ones that leave the tenants' objects to a copy.

    Ours take the identifiers of Django's, so that these are not connected any more if their apps come later.
    """
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes.management import create_contenttypes

        post_migrate.disconnect(create_contenttypes)
        post_migrate.connect(_create_contenttypes, dispatch_uid=id(create_contenttypes))
    if apps.is_installed("django.contrib.auth"):
        uid = "django.contrib.auth.management.create_permissions"
        post_migrate.disconnect(dispatch_uid=uid)
        post_migrate.connect(_create_permissions, dispatch_uid=uid)
    post_migrate.connect(_after_migrate, dispatch_uid="do_bridge.after_migrate")


def _create_contenttypes(using, **kwargs):
    if not is_tenant_side(using):
        from django.contrib.contenttypes.management import create_contenttypes

        create_contenttypes(using=using, **kwargs)


def _create_permissions(using, **kwargs):
    if not is_tenant_side(using):
        from django.contrib.auth.management import create_permissions

        create_permissions(using=using, **kwargs)


def _after_migrate(sender, using, apps=None, **kwargs):
    if using == conf("DIRECTORY_ALIAS"):
        forget_directory_rows()
    elif sender.label == "contenttypes" and alias_slug(using) is not None and _has_tables(apps):
        copy_content_types(using)


def _has_tables(state_apps):
    """Say whether the migrated state still has the tables: `migrate contenttypes zero` takes them away."""
    if state_apps is None:
        return True
    return all(
        model._meta.model_name in state_apps.all_models[model._meta.app_label] for model, _ in _models()
    )
