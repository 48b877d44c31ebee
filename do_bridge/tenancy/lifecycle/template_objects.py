"""Record in the ledger when template objects are used, and empty unused ones."""

import contextlib
from datetime import timedelta

from django.db import connections
from django.utils.timezone import now

from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.slugs import TEMPLATE_OBJECT_PREFIX, is_template_object_alias

from . import ledger
from .emptying import erase

#: Days without use after which no process is expected to run a template object's code.
DAYS = 7


def note_used(alias):
    """Record in the ledger that a template object was used just now.

    The row's slug is the alias. One round trip.
    """
    ledger.reached(alias, code_fingerprint())


def superseded(current, days=DAYS):
    """Return the aliases of template objects that were unused for `days`.

    `current` is never among them.
    """
    rows = ledger.all_states().filter(
        slug__startswith=TEMPLATE_OBJECT_PREFIX, since__lte=now() - timedelta(days=days)
    )
    names = rows.exclude(slug=current).order_by("slug").values_list("slug", flat=True)
    return [name for name in names if is_template_object_alias(name)]


def empty_template_object(alias):
    """Erase a template object and delete its row from the ledger.

    A process that still runs its code has read it already, or makes it again. Raises
    Django's database errors.
    """
    from do_bridge.backends.sqlite_file.schema import connect

    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper)) as connection:
        # No tenant's lease has written to it.
        erase(connection, 0)
    wrapper.close()
    ledger.forget(alias)
