"""Record a migration's statements on one object, to replay them on others.

Other objects of the same schema get them in one batch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from typing import Any, TypeVar

from django.db.migrations import RunPython, SeparateDatabaseAndState
from django.db.models.signals import post_migrate, pre_migrate
from django.utils import timezone

from do_bridge import django_compat
from do_bridge.backends.remote_sqlite.refusals import PREFIX
from do_bridge.driver.exceptions import Error
from do_bridge.driver.transport import Control, RemoteTransaction, WrappedTransport

_OWN_OPERATIONS = "django.db.migrations.operations."
# Modules whose receivers of the two signals do not write to objects.
_OWN_RECEIVERS = ("do_bridge.", "django.contrib.auth.", "django.contrib.contenttypes.")
# These defaults are the same for every row of every tenant.
_CONSTANT_DEFAULTS = (dict, list, str, int, bool, float, timezone.now, date.today, datetime.now)

_F = TypeVar("_F", bound=Callable[..., Any])

_wanted: ContextVar[Recording | None] = ContextVar("do_bridge_recording", default=None)


class Recording:
    """What one run of migrations did.

    It holds the prepared statements in order, and the migrations applied after it.
    """

    def __init__(self):
        self.statements = []
        self.plan = []
        self.started_at = ""
        self.applied = frozenset()
        #: False after something that a batch cannot repeat: a savepoint, or a statement that failed.
        self.is_plain = True
        #: Whether a migration may have been unapplied in part in other objects of the schema.
        self.may_be_half_unapplied = False

    def note(self, statements):
        """Keep the statements that change something, or guard a change: guards only read."""
        self.statements += [item for item in statements if not item.shape.reads_only or PREFIX in item.sql]

    @property
    def notes(self):
        """The (app, name) that the run recorded as applied."""
        forwards = [migration for migration, is_backwards in self.plan if not is_backwards]
        return [key for one in forwards for key in one.replaces or [(one.app_label, one.name)]]

    @property
    def can_be_replayed(self):
        """Whether the statements do the same on any object of the same schema."""
        return self.is_plain and bool(self.plan) and all(_is_static(step) for step, _ in self.plan)


@contextmanager
def recording():
    """Record what a run of migrations inside this block does; yield the Recording."""
    made = Recording()
    token = _wanted.set(made)
    try:
        yield made
    finally:
        _wanted.reset(token)


@contextmanager
def recorded(connection, plan, started_at):
    """Record what `connection` runs, if the block is inside `recording()`.

    Signals are not recorded. `plan` is the executor's, `started_at` the schema fingerprint before it.
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


def directory_only(receiver: _F) -> _F:
    """Mark a receiver of pre_migrate or post_migrate as one for D1 only.

    An unmarked receiver of another package must be called for each tenant, so that each tenant is migrated by
    Django's executor.
    """
    receiver.is_directory_only = True
    return receiver


def signals_are_known():
    """Return whether replay may skip all receivers of the two migration signals.

    It may if each is this package's, Django's, or marked with `directory_only`.
    """
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
    """Return whether an operation writes the same statements for every such object.

    The objects have one schema.
    """
    if isinstance(operation, RunPython) or not type(operation).__module__.startswith(_OWN_OPERATIONS):
        return False
    fields = [field for _, field in getattr(operation, "fields", None) or ()]
    if (field := getattr(operation, "field", None)) is not None:
        fields.append(field)
    return all(
        not (field.has_default() and callable(field.default)) or field.default in _CONSTANT_DEFAULTS
        for field in fields
    )


class _RecordingTransport(WrappedTransport):
    """Record the statements that were carried out."""

    def __init__(self, inner, made):
        super().__init__(inner)
        self.made = made

    def batch(self, database, statements, deadline, **more):
        answers = self.inner.batch(database, statements, deadline, **more)
        self.made.note(statements)
        return answers

    def transaction(self, database, lease, **more):
        return _RecordedTransaction(self.inner.transaction(database, lease, **more), self.made)


class _RecordedTransaction(RemoteTransaction):
    """One transaction, which is recorded when it commits."""

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
