"""Time Travel of D1 for the commands, and a bookmark before a migration."""

import contextlib
import os

from django.core.management.base import CommandError
from django.db import connections
from django.db.models.signals import pre_migrate

from do_bridge import driver
from do_bridge.backends.d1.base import DatabaseWrapper
from do_bridge.backends.environment import in_test_environment
from do_bridge.driver.transports.time_travel import TimeTravel
from do_bridge.tenancy.conf import conf

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"
_NEEDED = "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_D1_TOKEN, or CLOUDFLARE_API_TOKEN"


def time_travel(alias):
    """Return the TimeTravel of a D1 alias, or None if it can't be reached.

    It needs the account and a token of Cloudflare's API, also if the alias uses the relay.
    """
    settings = connections[alias].settings_dict
    options = settings.get("OPTIONS", {})
    account = options.get("account_id") or os.environ.get("CLOUDFLARE_ACCOUNT_ID", "")
    if options.get("transport") == "rest":
        base, token = settings["HOST"], settings["PASSWORD"]
    else:
        base = os.environ.get("D1_API_BASE") or CLOUDFLARE_API
        token = os.environ.get("CLOUDFLARE_D1_TOKEN") or os.environ.get("CLOUDFLARE_API_TOKEN", "")
    if not account or not token:
        return None
    return TimeTravel(driver.rest(base, token, account), settings["NAME"])


def required_time_travel(alias):
    """Return the TimeTravel of an alias; raise CommandError if it has none."""
    if alias not in connections.settings or not isinstance(connections[alias], DatabaseWrapper):
        raise CommandError(f"{alias!r} is not an alias of a D1 database. Name one with --database.")
    if in_test_environment():
        raise CommandError("The history of a D1 database is not touched while tests run.")
    if (found := time_travel(alias)) is None:
        raise CommandError(
            f"Time Travel is a part of Cloudflare's API, and its account or token is missing. Set {_NEEDED}, "
            "also if D1 is used through the relay."
        )
    return found


@contextlib.contextmanager
def bookmark_before(command, alias, verbosity):
    """Print a bookmark before a migration in the block changes a D1 alias.

    Without credentials for Cloudflare's API no bookmark is printed, and the block runs nevertheless.
    """
    wrapper = connections[alias]
    if not isinstance(wrapper, DatabaseWrapper) or in_test_environment() or not conf("BOOKMARKS"):
        yield
        return
    if (travel := time_travel(alias)) is None:
        if verbosity >= 2:
            command.stdout.write(f"No bookmark of {alias!r} is taken, which needs {_NEEDED}.")
        yield
        return
    seen = []

    def take(sender, using=None, plan=(), **kwargs):
        if seen or using != alias or not plan:
            return
        seen.append(True)
        try:
            bookmark = travel.bookmark()
        except driver.Error as error:
            command.stderr.write(f"No bookmark of {alias!r} was taken. {error}")
            return
        if verbosity >= 1:
            command.stdout.write(
                f"To take {alias!r} back to before this: manage.py database_restore --database {alias} "
                f"--bookmark {bookmark}"
            )

    pre_migrate.connect(take)
    try:
        yield
    finally:
        pre_migrate.disconnect(take)
