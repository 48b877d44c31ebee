"""Brings one tenant's object to where it should be: by replay, by provisioning, or by Django's command."""

import json
import logging
import threading
from dataclasses import dataclass

from django.core.management import call_command
from django.db import DatabaseError, connections
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite.progress import REFUSE_HALF_UNAPPLIED
from do_bridge.backends.remote_sqlite.rebuild import guarded
from do_bridge.driver.sql import prepare

from .contenttypes import content_type_upserts
from .expecting import expecting
from .fingerprint import code_fingerprint, of
from .provision import provision
from .replay import recording, signals_are_known
from .slugs import tenant_alias

logger = logging.getLogger("do_bridge.migrations")


def migrate_object(slug, *, is_empty=False):
    """Bring the object of `slug` to head, without a word to the ledger; return the fingerprint reached."""
    alias = tenant_alias(slug)
    if is_empty and provision(slug) == "provisioned":
        return code_fingerprint()
    call_command("migrate", database=alias, interactive=False, verbosity=0, noted=False, skip_checks=True)
    return connections[alias].schema_fingerprint


@dataclass
class Step:
    """The way from one schema to another, as one object went it."""

    statements: list
    reached: str
    #: The migrations that it notes as applied, (app, name).
    notes: list


class Steps:
    """For each schema that tenants start from, what the first of them did, to be sent to the others.

    The first goes the ordinary way, through Django's executor. Where what it did is the same for every object
    of its schema, the others get it as one batch, in one trip; else they go the ordinary way too.
    """

    def __init__(self, migrate):
        """`migrate(slug)` goes the ordinary way and returns the fingerprint reached."""
        self._migrate = migrate
        self._steps = {}
        self._locks = {}
        self._guard = threading.Lock()
        self._can_replay = signals_are_known()

    def bring(self, slug, start):
        """Bring one tenant on, whose object is thought to hold the schema `start`; return what it reached."""
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
        """Return the fingerprint reached, or None where this tenant has to go the ordinary way."""
        step = self._steps[start]
        if step is None:
            return None
        connection = connections[tenant_alias(slug)]
        try:
            with guarded(), expecting(connection, start) as sender, connection.wrap_database_errors:
                sender.run([*step.statements, *_applied_now(connection, step.notes)])
        except DatabaseError as error:
            # The batch is atomic. The ordinary way says better what is wrong, or works where this did not.
            if getattr(error.__cause__, "effect", None) == "unknown":
                raise
            logger.info("Tenant %s did not take the batch and goes the ordinary way: %s", slug, error)
            return None
        return step.reached


def _applied_now(connection, notes):
    """Return the prepared statement that gives the rows of django_migrations this tenant's own time."""
    if not notes:
        return []
    sql = (
        "UPDATE django_migrations SET applied = %s "
        "WHERE (app, name) IN (SELECT value->>0, value->>1 FROM json_each(%s))"
    )
    return [prepare(sql, [connection.ops.adapt_datetimefield_value(now()), json.dumps(notes)])]


def _keeps_content_types(applied):
    return {("contenttypes", "0001_initial"), ("auth", "0001_initial")} <= set(applied)
