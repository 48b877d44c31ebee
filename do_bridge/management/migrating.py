"""Django's migrate command with this package's executor of migrations."""

import inspect
from types import FunctionType

from django.core.management.base import no_translations
from django.core.management.commands import migrate

from do_bridge.tenancy.migrate.executor import TenantMigrationExecutor

# Django's command finds its executor by this name, which stays Django's for everybody else.
_NAME = "MigrationExecutor"


def _with_executor(method):
    """Return a copy of the method that finds our executor, which is Django's for other engines."""
    # The decorator no_translations is around it.
    handle = inspect.getclosurevars(method).nonlocals.get("handle_func")
    if handle is None or _NAME not in handle.__code__.co_names or handle.__closure__:
        raise RuntimeError("The migrate command of this Django makes its executor in another way.")
    names = {**handle.__globals__, _NAME: TenantMigrationExecutor}
    made = FunctionType(handle.__code__, names, handle.__name__, handle.__defaults__)
    made.__kwdefaults__ = handle.__kwdefaults__
    return no_translations(made)


class MigrateCommand(migrate.Command):
    """Migrates by TenantMigrationExecutor."""

    handle = _with_executor(migrate.Command.handle)
