"""Keep the keys of content types and permissions equal everywhere."""

import json
from threading import Lock

from django.apps import apps
from django.db import DatabaseError, IntegrityError, connections
from django.db.models.signals import post_migrate

from do_bridge.backends.environment import in_test_environment
from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.driver.sql import prepare
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.slugs import alias_slug, is_tenant_side

from .sql import insert_statements, run_batch, upsert_statements

CONTENT_TYPE_COLUMNS = ("id", "app_label", "model")
PERMISSION_COLUMNS = ("id", "name", "content_type_id", "codename")

# A conflict means that another process made progress, so that an end comes with any number of processes.
ATTEMPTS = 20

_lock = Lock()
_known = {}


class DirectoryNotReady(DatabaseError):
    """D1 has no content types to copy, because it has not been migrated."""


def copy_content_types(alias):
    """Copy D1's content types and permissions into a tenant's database.

    The copies have the same primary keys. Rows that the tenant has under other keys are moved to D1's keys,
    and so are references to them. Takes one round trip if nothing has to change, two otherwise.
    """
    connection = connections[alias]
    wanted = directory_rows()
    if not wanted:
        return
    selects = [(_select(connection, model, columns), None) for model, columns, _ in wanted]
    present = [[tuple(row) for row in result.rows] for result in run_batch(connection, selects)]
    statements, moved_types = [], {}
    for (model, columns, rows), existing in zip(wanted, present, strict=True):
        moved = _moves(model, existing, rows, moved_types)
        moved_types = moved_types or moved
        if moved:
            statements += _move_statements(connection, model, moved)
        missing = [row for row in rows if moved or tuple(row) not in existing]
        statements += upsert_statements(connection, model._meta.db_table, columns, missing, key="id")
    if statements:
        run_batch(connection, [("PRAGMA defer_foreign_keys = on", None), *statements])


def _natural_key(model, row, moved_types):
    """Return the natural key of a content type or a permission.

    `moved_types` are the new keys of content types that have moved.
    """
    if model._meta.model_name == "contenttype":
        return tuple(row[1:])
    return moved_types.get(row[2], row[2]), row[3]


def _moves(model, existing, rows, moved_types):
    """Return {old key: new key} for the tenant's rows whose keys differ from D1's."""
    wanted = {_natural_key(model, row, {}): row[0] for row in rows}
    taken = set(wanted.values())
    free = max([*taken, *(row[0] for row in existing)], default=0) + 1
    moved = {}
    for row in existing:
        target = wanted.get(_natural_key(model, row, moved_types))
        if target is None and row[0] in taken:
            # D1 no longer has this row, and its key is needed for another one.
            target, free = free, free + 1
        if target is not None and target != row[0]:
            moved[row[0]] = target
    return moved


def _move_statements(connection, model, moved):
    """Return the statements that change keys of `model` and the references to them."""
    quote = connection.ops.quote_name
    pairs = json.dumps(sorted(moved.items()))
    columns = [(model._meta.db_table, model._meta.pk.column), *_references(model)]
    statements = []
    for table, column in columns:
        table, column = quote(table), quote(column)
        # Keys are made negative first, because two rows may swap keys and each key must stay unique.
        # Names are qualified, because json_each has a column "id" too.
        statements += [
            (
                f"UPDATE {table} SET {column} = -(SELECT pair.value->>1 FROM json_each(%s) AS pair "  # noqa: S608
                f"WHERE pair.value->>0 = {table}.{column}) "
                f"WHERE {column} IN (SELECT pair.value->>0 FROM json_each(%s) AS pair)",
                [pairs, pairs],
            ),
            (f"UPDATE {table} SET {column} = -{column} WHERE {column} < 0", None),  # noqa: S608
        ]
    return statements


def _references(model):
    """Return [(table, column)] of the foreign keys that refer to `model`."""
    return [
        (other._meta.db_table, field.column)
        for other in apps.get_models(include_auto_created=True)
        if other._meta.managed and not other._meta.proxy
        for field in other._meta.local_concrete_fields
        if field.is_relation and field.related_model is model
    ]


def content_type_statements(connection):
    """Return the statements that insert D1's content types and permissions."""
    statements = []
    # Content types come first, because permissions refer to them.
    for model, columns, rows in directory_rows():
        statements += insert_statements(connection, model._meta.db_table, columns, rows)
    return statements


def content_type_upserts(connection):
    """Return statements that update content types and permissions from D1.

    They are prepared. They fail if the tenant has one under another key; `copy_content_types` moves such
    rows.
    """
    statements = []
    for model, columns, rows in directory_rows():
        statements += upsert_statements(connection, model._meta.db_table, columns, rows, key="id")
    return [prepare(sql, params) for sql, params in statements]


def directory_rows():
    """Return [(model, columns, rows)] from D1, after creating missing rows there."""
    with _lock:
        # Never cached in a test run, which restores rows in D1.
        if "rows" not in _known or in_test_environment():
            rows = _read_directory()
            if missing := _missing_app_configs(rows):
                _create_in_directory(missing)
                rows = _read_directory()
            _known["rows"] = rows
        return _known["rows"]


def forget_directory_rows():
    """Clear the cache of D1's content types and permissions."""
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
    models = _models()
    if not models:
        return []
    selects = [(_select(connection, model, columns), None) for model, columns in models]
    try:
        results = [result.rows for result in run_batch(connection, selects)]
    except DatabaseError as error:
        if is_missing_table(error):
            raise DirectoryNotReady(
                f"The shared database {directory!r} has not been migrated. Run `manage.py migrate --database "
                f"{directory}` first."
            ) from error
        raise
    return [(model, columns, rows) for (model, columns), rows in zip(models, results, strict=True)]


def _select(connection, model, columns):
    quote = connection.ops.quote_name
    return f"SELECT {', '.join(map(quote, columns))} FROM {quote(model._meta.db_table)} ORDER BY 1"  # noqa: S608


def _missing_app_configs(tables):
    """Return the app configs with a content type or permission that D1 lacks."""
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
        _create(create, conf("DIRECTORY_ALIAS"), app_config=app_config, verbosity=0, interactive=False)


def _create(create, using, **kwargs):
    """Call one of Django's handlers, again if another process has made the same rows.

    The handlers insert the rows that they did not read before, so two processes that migrate can insert the
    same row. The one that comes second gets an IntegrityError, and reads the rows when it is called again.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return create(using=using, **kwargs)
        except IntegrityError:
            # The block of the caller can no longer run queries.
            if connections[using].in_atomic_block:
                raise
    return create(using=using, **kwargs)


# Signals


def take_over_post_migrate():
    """Replace Django's handlers for content types and permissions.

    Django's handlers create the rows one by one in each tenant. The new handlers have the same dispatch_uid,
    so Django's are not connected if their apps load later.
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


def directory_is_closed():
    """Return whether this is a test run without a test database for D1.

    Then D1 must not be read, and Django's handlers create the tenants' rows with keys of their own.
    """
    creation = connections[conf("DIRECTORY_ALIAS")].creation
    return in_test_environment() and not getattr(creation, "is_test_database", lambda: True)()


def _create_contenttypes(using, **kwargs):
    if not is_tenant_side(using) or directory_is_closed():
        from django.contrib.contenttypes.management import create_contenttypes

        _create(create_contenttypes, using, **kwargs)


def _create_permissions(using, **kwargs):
    if not is_tenant_side(using) or directory_is_closed():
        from django.contrib.auth.management import create_permissions

        _create(create_permissions, using, **kwargs)


def _after_migrate(sender, using, apps=None, **kwargs):
    if using == conf("DIRECTORY_ALIAS"):
        forget_directory_rows()
        return
    is_tenants_turn = sender.label == "contenttypes" and alias_slug(using) is not None
    if is_tenants_turn and _has_tables(apps) and not directory_is_closed():
        copy_content_types(using)


def _has_tables(state_apps):
    """Return whether the migrated state has the tables.

    `migrate contenttypes zero` drops them.
    """
    if state_apps is None:
        return True
    return all(
        model._meta.model_name in state_apps.all_models[model._meta.app_label] for model, _ in _models()
    )
