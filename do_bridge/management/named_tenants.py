"""Refuse tenants that do not exist after `--database` on the command line.

A mistyped slug would open a new, empty Durable Object. Aliases in code are not checked, except if the code
opens a shell in which a person types.
"""

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.backends.signals import connection_created

from do_bridge.backends.environment import in_test_environment
from do_bridge.backends.remote_sqlite.client import shell_opens
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.slugs import alias_slug
from do_bridge.tenancy.tenants import is_registered, no_such_tenant

#: Slugs from the command line that have not been looked up in D1 yet.
_unknown = set()


def check_typed(slugs):
    """Look these slugs up in D1 when their aliases are first used.

    `slugs` are from the command line.
    """
    _unknown.update(slugs)
    connection_created.connect(_check, dispatch_uid="do_bridge.typed")
    shell_opens.connect(_check_shell, dispatch_uid="do_bridge.typed_in_a_shell")


def _check(sender, connection, **kwargs):
    slug = alias_slug(connection.alias)
    if slug not in _unknown or in_test_environment():
        return
    try:
        refuse_unregistered(slug)
    except CommandError:
        # Otherwise the next statement would use the open connection.
        connection.connection = None
        raise
    _unknown.discard(slug)


def _check_shell(sender, connection, **kwargs):
    if (slug := alias_slug(connection.alias)) is not None:
        refuse_unregistered(slug)


def refuse_unregistered(slug):
    """Raise CommandError if D1 has no row for the tenant; takes one round trip."""
    try:
        registered = is_registered(slug)
    except DatabaseError as error:
        raise CommandError(
            f"The list of tenants can't be read ({error}). "
            f"Run `manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first."
        ) from error
    if not registered:
        raise CommandError(no_such_tenant(slug))
