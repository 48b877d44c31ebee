"""Records a migration's statements on one object, for others of the same schema to get them in one batch."""

import weakref
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime

from django.db.migrations import RunPython, SeparateDatabaseAndState
from django.db.models.signals import post_migrate, pre_migrate
from django.utils import timezone

from do_bridge import django_compat
from do_bridge.driver.exceptions import Error
from do_bridge.driver.transport import Control, RemoteTransaction, Transport

# Guards of the schema editor only read, and refuse what would lose rows.
GUARD = "do_bridge:"
_OWN_OPERATIONS = "django.db.migrations.operations."
# Modules whose receivers of the two signals leave objects to `copy_content_types`.
_OWN_RECEIVERS = ("do_bridge.", "django.contrib.auth.", "django.contrib.contenttypes.")
# Every row of every tenant gets the same of these.
_CONSTANT_DEFAULTS = (dict, list, str, int, bool, float, timezone.now, date.today, datetime.now)

_wanted: ContextVar["Recording | None"] = ContextVar("do_bridge_recording", default=None)


class Recording:
    """What one run of migrations wrote: prepared statements in their order, and what was applied after it."""

    def __init__(self):
        self.statements = []
        self.plan = []
        self.started_at = ""
        self.applied = frozenset()
        #: False once something happened that a batch cannot repeat: savepoints, a statement that failed.
        self.is_plain = True
        #: Whether others of the schema may hold a migration that was unapplied in part.
        self.may_be_half_unapplied = False

    def note(self, statements):
        """Keep the statements that change something or guard a change."""
        self.statements += [item for item in statements if not item.shape.reads_only or GUARD in item.sql]

    @property
    def notes(self):
        """The (app, name) that the run noted as applied."""
        forwards = [migration for migration, is_backwards in self.plan if not is_backwards]
        return [key for one in forwards for key in one.replaces or [(one.app_label, one.name)]]

    @property
    def can_be_replayed(self):
        """Whether the statements do on any object of the same schema what they did here."""
        return self.is_plain and bool(self.plan) and all(_is_static(step) for step, _ in self.plan)


@contextmanager
def recording():
    """Record what a run of migrations inside this block does; yields the Recording."""
    made = Recording()
    token = _wanted.set(made)
    try:
        yield made
    finally:
        _wanted.reset(token)


@contextmanager
def recorded(connection, plan, started_at):
    """Record on `connection`, where somebody wants that. Signals' work stays outside.

    `plan` is the executor's, `started_at` the fingerprint before it.
    """
    made = _wanted.get()
    if made is None:
        yield Recording()
        return
    made.plan, made.started_at = plan, started_at
    driver_connection = connection.connection
    before = driver_connection.transport
    driver_connection.transport = _RecordingTransport(before, made)
    try:
        yield made
    finally:
        driver_connection.transport = before


def directory_only(receiver):
    """Mark a receiver of pre_migrate or post_migrate that leaves the tenants' objects alone.

    Without the mark it has to be called for each tenant, and so each one goes through Django's executor.
    """
    receiver.is_directory_only = True
    return receiver


def signals_are_known():
    """Say whether nobody but this package and Django's own apps acts on an object before or after."""
    for signal in (pre_migrate, post_migrate):
        for receiver in django_compat.receivers(signal):
            receiver = receiver() if isinstance(receiver, weakref.ReferenceType) else receiver
            if receiver is None or getattr(receiver, "is_directory_only", False):
                continue
            if not (getattr(receiver, "__module__", "") or "").startswith(_OWN_RECEIVERS):
                return False
    return True


def _is_static(migration):
    return migration.atomic is not False and all(
        _is_static_operation(operation) for outer in migration.operations for operation in _flat(outer)
    )


def _flat(operation):
    if isinstance(operation, SeparateDatabaseAndState):
        return [inner for outer in operation.database_operations for inner in _flat(outer)]
    return [operation]


def _is_static_operation(operation):
    """Say whether an operation writes the same statements for every object of one schema."""
    if isinstance(operation, RunPython) or not type(operation).__module__.startswith(_OWN_OPERATIONS):
        return False
    fields = [field for _, field in getattr(operation, "fields", None) or ()]
    if (field := getattr(operation, "field", None)) is not None:
        fields.append(field)
    return all(
        not (field.has_default() and callable(field.default)) or field.default in _CONSTANT_DEFAULTS
        for field in fields
    )


class _RecordingTransport(Transport):
    """Passes everything on, and notes what has stood."""

    def __init__(self, inner, made):
        self.inner = inner
        self.made = made

    def batch(self, database, statements, deadline, *, expect=None, key=None):
        answers = self.inner.batch(database, statements, deadline, expect=expect, key=key)
        self.made.note(statements)
        return answers

    def transaction(self, database, lease, *, expect=None):
        return _RecordedTransaction(self.inner.transaction(database, lease, expect=expect), self.made)

    def supports_transactions(self, database):
        return self.inner.supports_transactions(database)

    def max_request(self, deadline):
        return self.inner.max_request(deadline)

    def close(self):
        """The transport is the process's, and stays open."""


class _RecordedTransaction(RemoteTransaction):
    """One transaction; what it did is noted at its commit."""

    def __init__(self, inner, made):
        self.inner = inner
        self.made = made
        self.statements = []

    def run(self, steps, deadline):
        try:
            answers = self.inner.run(steps, deadline)
        except Error:
            self.made.is_plain = False
            raise
        for step in steps:
            if not isinstance(step, Control):
                self.statements.append(step)
            elif step.verb == "commit":
                self.made.note(self.statements)
            elif step.verb != "rollback":
                self.made.is_plain = False
        return answers

    def abandon(self):
        self.inner.abandon()
