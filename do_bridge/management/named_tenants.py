"""Refuses a tenant that a command line names by `--database` and that nobody has made: a slip of the hand.

Such a command would work on the Durable Object of no tenant. Code that names an alias knows what it does, but
whoever opens a prompt by code types there, too.
"""

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.backends.signals import connection_created

from do_bridge.backends.remote_sqlite.client import shell_opens
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import in_test_environment
from do_bridge.tenancy.slugs import alias_slug
from do_bridge.tenancy.tenants import is_registered

#: Slugs that the command line names and D1 has not been asked about.
_unknown = set()


def check_typed(slugs):
    """Let the first use of these tenants, which a command line names, ask D1 whether there are any."""
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
        # Else the next statement would find it connected.
        connection.connection = None
        raise
    _unknown.discard(slug)


def _check_shell(sender, connection, **kwargs):
    if (slug := alias_slug(connection.alias)) is not None:
        refuse_unregistered(slug)


def refuse_unregistered(slug):
    """Raise CommandError for a tenant without a row in D1; one round trip."""
    try:
        registered = is_registered(slug)
    except DatabaseError as error:
        raise CommandError(
            f"The list of tenants can't be read ({error}). "
            f"Run `migrate --database {conf('DIRECTORY_ALIAS')}` first."
        ) from error
    if not registered:
        raise CommandError(
            f"No tenant is registered as {slug!r}. `manage.py create_tenant {slug}` makes it, ready for use."
        )
