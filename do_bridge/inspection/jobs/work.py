"""The work of each job on a chunk of tenants.

Each worker returns [(slug, whether it failed, text)].
"""

from io import StringIO

from django.core.management import call_command
from django.db import connections

from do_bridge.tenancy.migrate.bring import LeasedFleet, Steps
from do_bridge.tenancy.migrate.catch_up import named
from do_bridge.tenancy.migrate.fleet import Fleet, Outcome
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.slugs import tenant_alias

from .. import actions
from ..inspected import Inspected
from ..reading.facts import facts
from ..usage.reading import note_looks

MEASURE = actions.Action(
    "measure", "Read the numbers", actions.CHANGE, "Read size, rows and last activity of", for_directory=False
)
#: The actions that a job can take.
JOBS = {name: actions.ACTIONS[name] for name in ("migrate", "check", "sync")} | {"measure": MEASURE}


def available(user):
    """Return the job actions that are installed and that `user` may take."""
    return [action for action in JOBS.values() if action.is_available and user.has_perm(action.permission)]


def worker(name):
    """Return the function (slugs) that works on a chunk."""
    if name == "migrate":
        return _migrator()
    return _measure if name == "measure" else _taker(actions.ACTIONS[name])


def _migrator():
    """Return the worker that migrates as `migrate --database tenant` does.

    The steps that one tenant needed are replayed on the others.
    """

    def migrate(slug):
        call_command(
            "migrate",
            database=tenant_alias(slug),
            interactive=False,
            verbosity=0,
            noted=False,
            stdout=StringIO(),
        )
        return connections[tenant_alias(slug)].schema_fingerprint

    def refusal(fingerprint):
        unknown = known.unknown(known.migrations_of(fingerprint) or frozenset())
        return f"it has migrations that this code does not have: {named(unknown)}" if unknown else ""

    steps = Steps(migrate)

    def work(slugs):
        fleet = LeasedFleet(steps, migrate, makes=True, refusal=refusal).fleet()
        return [(one.slug, one.failed, one.error or "migrated") for one in fleet.run(slugs)]

    return work


def _taker(action):
    def take(slug):
        went_well, said = actions.take(action, Inspected(slug))
        return Outcome(slug, said, error="" if went_well else said)

    def work(slugs):
        return [(one.slug, one.failed, one.error or one.text) for one in Fleet(take).run(slugs)]

    return work


def _measure(slugs):
    found = {}

    def look(slug):
        found[slug] = facts(Inspected(slug))
        is_silent = found[slug]["rows"] is None
        return Outcome(slug, found[slug]["text"], error=found[slug]["text"] if is_silent else "")

    outcomes = Fleet(look).run(slugs)
    note_looks({tenant_alias(slug): seen for slug, seen in found.items()})
    return [(one.slug, one.failed, one.error or one.text) for one in outcomes]
