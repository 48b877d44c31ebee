"""Scratch objects in the ledger: noted when they are used, emptied when no code needs them any more."""

import contextlib
from datetime import timedelta

from django.db import connections
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.backends.sqlite_file.schema import connect
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.slugs import SCRATCH_PREFIX, is_scratch_alias

from . import ledger

#: Days after which nobody is expected to run the code of a scratch object that was not used since.
DAYS = 7


def note_used(alias):
    """Note in the ledger, under its alias, that a scratch object was used just now; one trip."""
    ledger.reached(alias, code_fingerprint())


def superseded(current, days=DAYS):
    """Return the aliases of scratch objects, but `current`, that nobody has used for so many days."""
    rows = ledger.all_states().filter(
        slug__startswith=SCRATCH_PREFIX, since__lte=now() - timedelta(days=days)
    )
    names = rows.exclude(slug=current).order_by("slug").values_list("slug", flat=True)
    return [name for name in names if is_scratch_alias(name)]


def empty_scratch(alias):
    """Drop all that a scratch object holds, give its storage back and take it out of the ledger.

    Whoever runs its code still has read it, or makes it anew. Raises Django's database errors.
    """
    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper)) as connection:
        empty(connection)
        connection.erase()
    wrapper.close()
    ledger.forget(alias)
