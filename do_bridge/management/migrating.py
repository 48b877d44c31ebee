"""Django's migrate command with this package's executor of migrations."""

import inspect
from types import FunctionType

from django.core.management.base import no_translations
from django.core.management.commands import migrate

from do_bridge.tenancy.migrate.executor import TenantMigrationExecutor

# The global name of the executor in Django's module. Other users of the module keep Django's executor.
_NAME = "MigrationExecutor"


def _with_executor(method):
    """Return a copy of the method that uses TenantMigrationExecutor.

    For engines of other packages the executor behaves as Django's. Raises RuntimeError if this version of
    Django creates its executor in another way.
    """
    # The decorator no_translations wraps the method.
    handle = inspect.getclosurevars(method).nonlocals.get("handle_func")
    if handle is None or _NAME not in handle.__code__.co_names or handle.__closure__:
        raise RuntimeError(
            "do_bridge does not support how the migrate command of this version of Django creates its "
            "executor. Install a version of Django that do_bridge supports."
        )
    names = {**handle.__globals__, _NAME: TenantMigrationExecutor}
    made = FunctionType(handle.__code__, names, handle.__name__, handle.__defaults__)
    made.__kwdefaults__ = handle.__kwdefaults__
    return no_translations(made)


class MigrateCommand(migrate.Command):
    """Django's migrate command, run by TenantMigrationExecutor."""

    handle = _with_executor(migrate.Command.handle)
