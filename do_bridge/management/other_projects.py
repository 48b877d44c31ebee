"""Recognize databases and files that another project has migrated."""

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.backends.sqlite_file.units import MARK
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.slugs import is_tenant_side

OPTION = "--with-other-apps"
_MIGRATIONS = "django_migrations"
# A project that adds or removes these apps is still the same project.
_COMMON = ("django.contrib.", "do_bridge")


def refuse_other_project(alias):
    """Raise CommandError if another project has migrated the database of `alias`.

    It also raises for a database that load_sqlite filled only in part. Takes two round trips.
    """
    connection = connections[alias]
    if is_tenant_side(alias) or not connection.settings_dict["ENGINE"].startswith("do_bridge."):
        return
    user_model = get_user_model() if apps.is_installed("django.contrib.auth") else None
    wanted = [_MIGRATIONS, user_model._meta.db_table if user_model else _MIGRATIONS, MARK]
    found = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, %s, %s)"
    tables = {name for (name,) in run_batch(connection, [(found, wanted)])[0].rows}
    if MARK in tables:
        raise CommandError(
            f"The database of {alias!r} is incomplete, because load_sqlite was interrupted there. "
            "Run the same load_sqlite command again to continue."
        )
    if _MIGRATIONS not in tables:
        return
    listed = f"SELECT DISTINCT app FROM {_MIGRATIONS}"  # noqa: S608 - a constant
    noted = {app for (app,) in run_batch(connection, [(listed, None)])[0].rows}
    why = _why(noted, user_model if user_model and wanted[1] not in tables else None)
    if why:
        raise CommandError(
            f"The database of {alias!r} was migrated by another project: {why}. Set NAME in "
            f"DATABASES[{alias!r}] to the id of this project's database. If both projects share "
            f"the database, run the command once with {OPTION}."
        )


def refuse_other_projects_file(source, schema):
    """Raise UnfitFile if another project has migrated the SQLite file.

    `source` is the open file, `schema` its tables. Returns the option that `migrate` needs afterwards, or an
    empty string. It needs one if the site has removed an app and added another since the file was written,
    because `migrate` would refuse that database as another project's.
    """
    # Imported late: `check` imports this module, too.
    from do_bridge.backends.sqlite_file.checking import applied_migrations

    noted = {app for app, _ in applied_migrations(source)}
    user_model = get_user_model() if apps.is_installed("django.contrib.auth") else None
    tables = {table.name for table in schema.tables}
    lacking = user_model if user_model and user_model._meta.db_table not in tables else None
    why = _why(noted, lacking)
    if why and (lacking is not None or not noted & _own_apps()):
        raise UnfitFile(
            f"The file was migrated by another project: {why}. Run the command in the project that "
            "the file belongs to."
        )
    return OPTION if why else ""


def _why(noted, lacking):
    """Return why the database is another project's, or an empty string.

    `noted` are the app labels in django_migrations, `lacking` is the user model if its table is missing.
    """
    # An app that was only removed does not count.
    unknown = sorted(noted - {config.label for config in apps.get_app_configs()})
    new = sorted(_own_apps() - noted)
    if unknown and new:
        return f"it has migrations of {', '.join(unknown)} and none of {', '.join(new)}"
    if lacking is not None and lacking._meta.app_label in noted:
        label, table = lacking._meta.app_label, lacking._meta.db_table
        return f"it has migrations of {label} and no table {table}"
    return ""


def _own_apps():
    """Return the labels of the project's own apps with migrations.

    Django's apps and this package's are left out.
    """
    loader = MigrationLoader(None)
    labels = {label for label, _ in loader.disk_migrations}
    return {label for label in labels if not apps.get_app_config(label).name.startswith(_COMMON)}
