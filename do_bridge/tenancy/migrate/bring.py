"""Bring tenants' objects up to date.

This is done by replay, by provisioning, or by Django's command.
"""

import json
import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass

from django.db import DatabaseError, connections
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite.migrate.progress import REFUSE_HALF_UNAPPLIED
from do_bridge.backends.remote_sqlite.rebuild import guarded
from do_bridge.driver.sql import prepare
from do_bridge.tenancy.lifecycle.emptying import clear
from do_bridge.tenancy.lifecycle.fencing import fenced
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import close_to_older, read_tenant, refuse_elsewhere
from do_bridge.tenancy.lifecycle.lost import record_lost, refusing_lost
from do_bridge.tenancy.lifecycle.outside import refuse_block
from do_bridge.tenancy.lifecycle.provision import is_unfilled, ready
from do_bridge.tenancy.lifecycle.states import Do, Operation, State, has_data
from do_bridge.tenancy.replicated.contenttypes import content_type_upserts
from do_bridge.tenancy.schema.errors import TenantLost, TenantUnclaimed
from do_bridge.tenancy.schema.expecting import expecting
from do_bridge.tenancy.schema.fingerprint import of
from do_bridge.tenancy.schema.replay import recording, signals_are_known
from do_bridge.tenancy.slugs import tenant_alias

from .fleet import JOBS, Fleet, Outcome

logger = logging.getLogger("do_bridge.migrations")


@dataclass
class Step:
    """What one object needed to get from one schema to another."""

    statements: list
    reached: str
    #: The migrations that it records as applied, (app, name).
    notes: list


class Steps:
    """The migration steps of each schema, recorded on one tenant for the others.

    The first tenant is migrated by Django's executor. If what that did is the same for every object of the
    schema, the others get it as one batch in one round trip. Otherwise they are migrated by the executor,
    too.
    """

    def __init__(self, migrate):
        """Set the function that migrates one tenant with Django's executor.

        `migrate(slug)` returns the schema fingerprint reached.
        """
        self._migrate = migrate
        self._steps = {}
        self._locks = {}
        self._guard = threading.Lock()
        self._can_replay = signals_are_known()

    def bring(self, slug, start):
        """Migrate one tenant; return the schema fingerprint reached.

        Its object should have the schema `start`.
        """
        if not start or not self._can_replay:
            return self._migrate(slug)
        with self._guard:
            lock = self._locks.setdefault(start, threading.Lock())
        with lock:
            is_first = start not in self._steps
            if is_first:
                # If it fails, the next one is the first.
                reached, self._steps[start] = self._record(slug, start)
        if is_first:
            return reached
        return self._replay(slug, start) or self._migrate(slug)

    def _record(self, slug, start):
        with recording() as made:
            reached = self._migrate(slug)
        connection = connections[tenant_alias(slug)]
        usable = made.can_be_replayed and of(made.applied) == reached and _keeps_content_types(made.applied)
        if not usable or made.started_at != start:
            return reached, None
        refusals = REFUSE_HALF_UNAPPLIED if made.may_be_half_unapplied else ()
        first = [prepare(sql, params) for sql, params in refusals]
        statements = [*first, *made.statements, *content_type_upserts(connection)]
        return reached, Step(statements, reached, made.notes)

    def _replay(self, slug, start):
        """Return the schema fingerprint reached, or None if replay is not possible.

        The tenant must then be migrated by the executor.
        """
        step = self._steps[start]
        if step is None:
            return None
        connection = connections[tenant_alias(slug)]
        try:
            with guarded(), expecting(connection, start) as sender, connection.wrap_database_errors:
                sender.run([*step.statements, *_applied_now(connection, step.notes)])
        except DatabaseError as error:
            # The batch is atomic. The ordinary way works, or raises a better error.
            if getattr(error.__cause__, "effect", None) == "unknown":
                raise
            logger.info(
                "Tenant %s can't be migrated in one batch, so its migrations run one by one: %s", slug, error
            )
            return None
        return step.reached


def _applied_now(connection, notes):
    """Return the statement that sets the present time in the new migration records.

    It is prepared. The records are rows of django_migrations.
    """
    if not notes:
        return []
    sql = (
        "UPDATE django_migrations SET applied = %s "
        "WHERE (app, name) IN (SELECT value->>0, value->>1 FROM json_each(%s))"
    )
    return [prepare(sql, [connection.ops.adapt_datetimefield_value(now()), json.dumps(notes)])]


def _keeps_content_types(applied):
    return {("contenttypes", "0001_initial"), ("auth", "0001_initial")} <= set(applied)


@dataclass
class LeasedFleet:
    """A run of migrations over many tenants, each under a lease.

    A chunk's leases take one round trip. `steps` and `migrate(slug)` migrate a tenant; if `steps` is None,
    Django's executor migrates each. `makes` is whether one batch fills an empty object.
    `refusal(fingerprint)` returns why this code refuses a schema, or "".
    """

    steps: object
    migrate: object
    makes: bool
    refusal: object
    jobs: int = JOBS

    def fleet(self):
        """Return the Fleet.

        Raises TransactionManagementError in a block on D1 that could be rolled back.
        """
        refuse_block("Tenants can't be migrated")
        self._leases, self._keeping = {}, ExitStack()
        return Fleet(self._work, before=self._begin, after=self._end, jobs=self.jobs)

    def _begin(self, slugs):
        """Take the leases of tenants that are at rest by the ledger.

        Their bookmarks are kept.
        """
        at_rest = [
            row
            for row in leases.look_at_many(slugs).values()
            if row.state == State.READY and row.operation in ("", Operation.MIGRATE) and not row.is_live
        ]
        self._leases = leases.take_many(at_rest, Operation.MIGRATE, noting=bookmarks.before_migration)
        self._keeping = ExitStack()
        self._keeping.enter_context(leases.kept(*self._leases.values()))

    def _work(self, slug):
        if (lease := self._leases.get(slug)) is None:
            return self._work_alone(slug)
        # After an interrupted run only the object itself shows its progress.
        if lease.row.operation:
            # Nothing is written into an object that should not be empty.
            with refusing_lost(lease):
                if has_data(lease.row) and not read_tenant(slug).has_tables:
                    raise TenantLost(slug)
            start = close_to_older(lease).fingerprint
        else:
            start = lease.row.fingerprint or read_tenant(slug).fingerprint
        lease.step = Do.KEEP if start else Do.MAKE
        return self._bring(lease, start)

    def _work_alone(self, slug):
        held = []

        def read():
            held.append(read_tenant(slug))
            return held[-1]

        lease = leases.take(slug, Operation.MIGRATE, read, noting=bookmarks.before_migration)
        if not lease.fence:
            if lease.step == Do.TAKEN:
                raise TenantUnclaimed(slug)
            if lease.step == Do.LOST:
                raise record_lost(lease.row)
            leases.refuse(lease)
            return Outcome(slug, error="the tenant was deleted while this command ran")
        self._leases[slug] = lease
        with leases.kept(lease):
            # What an interrupted operation had left may have been changed by taking the lease.
            start = held[-1] if held and not lease.row.operation else read_tenant(slug)
            return self._bring(lease, start.fingerprint)

    def _bring(self, lease, start):
        slug = lease.slug
        refuse_elsewhere(lease)
        with fenced(tenant_alias(slug), lease):
            if lease.step in (Do.MAKE, Do.DROP) and self.makes:
                return Outcome(slug, fingerprint=ready(lease)[1])
            if is_unfilled(lease):
                start = ready(lease)[1]
            with refusing_lost(lease):
                reached = self.steps.bring(slug, start) if self.steps else self.migrate(slug)
        return Outcome(slug, fingerprint=reached, error=self.refusal(reached))

    def _end(self, done, untouched):
        """Record the outcomes of a chunk in the ledger, in at most three round trips.

        A lost lease takes one or two more.
        """
        self._keeping.close()
        own = self._leases
        ready_ones = [one for one in done if not one.failed and one.slug in own]
        settled = leases.settle_many([(own[one.slug], State.READY, one.fingerprint) for one in ready_ones])
        for one in ready_ones:
            if one.slug not in settled:
                one.error = str(leases.lost(own[one.slug]))
        failed = [(own[one.slug], one.error) for one in done if one.failed and one.slug in own]
        recorded = leases.fail_many(failed)
        for lease, _ in failed:
            if lease.slug not in recorded:
                clear(lease)
        leases.give_back([own[slug] for slug in untouched if slug in own])
