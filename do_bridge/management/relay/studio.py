"""The command `manage.py relay studio`, which opens one database in a client.

Clients are Drizzle Studio and others of libSQL.
"""

import signal

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import connections

from do_bridge.backends.remote_sqlite.base import DatabaseWrapper
from do_bridge.backends.sqlite_file.schema import connect
from do_bridge.management.named_tenants import refuse_unregistered
from do_bridge.studio.server import Server
from do_bridge.tenancy.slugs import InvalidSlug, alias_slug, tenant_alias

from .doctor import D1

help = "Serve one database with libSQL's protocol on 127.0.0.1, for Drizzle Studio and other clients."


def add_arguments(parser):
    """Add the subcommand's own options."""
    parser.add_argument("slug", nargs="?", metavar="SLUG", help="The tenant's slug.")
    parser.add_argument(
        "--database", metavar="ALIAS", help="Another alias in place of a tenant, e.g. default."
    )
    parser.add_argument("--write", action="store_true", help="Let clients change the database.")
    parser.add_argument("--port", type=int, default=0, help="The port. Default: a free one.")
    parser.add_argument(
        "--lease",
        type=float,
        default=10.0,
        help="Seconds (0.1 to 25) for which a client's transaction may hold the database. "
        "Default: %(default)g.",
    )


def handle(command, *, slug, database, write, port, lease, **options):
    """Serve until Ctrl-C; print the address and the token."""
    if bool(slug) == bool(database):
        raise CommandError("Name a tenant, or another database with --database.")
    if not 0.1 <= lease <= 25:
        raise CommandError("--lease must be between 0.1 and 25 seconds.")
    make = connector(_alias(slug or alias_slug(database)) or database, lease)
    try:
        server = Server(make, port=port, writes=write)
    except (OSError, OverflowError) as error:
        raise CommandError(f"Port {port} can't be used: {error}. Choose another one with --port.") from error
    with server:
        _announce(command, server, slug or database, write)
        before = signal.signal(signal.SIGTERM, _stop)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            command.stderr.write("Stopped.")
        finally:
            signal.signal(signal.SIGTERM, before)


def connector(alias, lease=10.0):
    """Return a function that opens driver connections to an alias's database.

    Raises CommandError.
    """
    if alias not in connections.settings:
        raise CommandError(f"DATABASES has no alias {alias!r}.")
    wrapper = connections[alias]
    if not isinstance(wrapper, DatabaseWrapper):
        raise CommandError(f"The engine of {alias!r} is not one of do_bridge's.")
    is_d1 = wrapper.settings_dict["ENGINE"] == D1
    try:
        wrapper.get_connection_params()
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    return lambda: connect(wrapper, **({"optimistic": True} if is_d1 else {"lease": lease}))


def _alias(slug):
    """Return a registered tenant's alias, or None for None."""
    if slug is None:
        return None
    try:
        alias = tenant_alias(slug)
    except InvalidSlug as error:
        raise CommandError(str(error)) from error
    refuse_unregistered(slug)
    return alias


def _announce(command, server, name, write):
    allowed = "may change it" if write else "only read"
    command.stdout.write(f"{name} at {server.url}. Clients {allowed}. Ctrl-C ends it.")
    command.stdout.write(f"DATABASE_URL={server.url}")
    command.stdout.write(f"DATABASE_AUTH_TOKEN={server.token}")
    command.stdout.flush()


def _stop(number, frame):
    raise KeyboardInterrupt
