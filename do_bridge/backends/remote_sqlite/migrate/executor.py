"""Run migrations so that each one is all or nothing, or can be continued.

Its row in django_migrations is part of it.
"""

import hashlib
import logging
from collections import namedtuple
from contextlib import ExitStack, contextmanager
from functools import cached_property

from django.db import router
from django.db.migrations import RunPython, SeparateDatabaseAndState
from django.db.migrations import executor as django_executor
from django.db.migrations.exceptions import IrreversibleError
from django.db.transaction import atomic
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite.schema import DatabaseSchemaEditor
from do_bridge.driver.limits import LONGEST_LEASE

from .progress import Progress

logger = logging.getLogger("do_bridge.migrations")

# Seconds. A migration may hold its object as long as the relay allows, ordinary work should not.
DEFAULT_LEASE = LONGEST_LEASE


class MigrationExecutor(django_executor.MigrationExecutor):
    """Django's executor; for aliases of other backends it changes nothing.

    On a Durable Object a migration is one transaction. On D1 it is one batch, split only where code needs a
    result before the end. Each chunk writes its progress, so that a failed migration continues where it
    stopped.
    """

    @property
    def is_ours(self):
        """Whether the connection belongs to one of do_bridge's engines."""
        return issubclass(self.connection.SchemaEditorClass, DatabaseSchemaEditor)

    @cached_property
    def progress(self):
        """The unfinished migrations and what they have done."""
        return Progress(self.connection)

    @property
    def may_be_half_unapplied(self):
        """Whether some migration that is recorded as applied may be applied in part only."""
        # Reading it is a round trip, which an object is spared unless a migration is not atomic there.
        nodes = self.loader.graph.nodes
        applied = (nodes[key] for key in self.loader.applied_migrations if nodes.get(key) is not None)
        return not self.connection.features.can_rollback_ddl or not all(one.atomic for one in applied)

    # Django's own steps

    def migrate(self, targets, plan=None, state=None, fake=False, fake_initial=False):
        if self.is_ours and not fake:
            steps = self.migration_plan(targets) if plan is None else plan
            backwards = {(step.app_label, step.name) for step, is_backwards in steps if is_backwards}
            if backwards:
                self.progress.refuse_backwards(self.loader.graph, backwards)
            elif self.may_be_half_unapplied:
                self.progress.refuse_forwards(self.loader.graph, targets)
        return super().migrate(targets, plan, state, fake, fake_initial)

    def apply_migration(self, state, migration, fake=False, fake_initial=False):
        if not self.is_ours:
            return super().apply_migration(state, migration, fake, fake_initial)
        if fake_initial and not fake:
            fake, state = self.detect_soft_applied(state, migration)
        self._report("apply_start", migration, fake)
        if fake:
            self._record_only(migration, backwards=False)
        else:
            state = self._run(state, migration, backwards=False)
        self._report("apply_success", migration, fake)
        return state

    def unapply_migration(self, state, migration, fake=False):
        if not self.is_ours:
            return super().unapply_migration(state, migration, fake)
        self._report("unapply_start", migration, fake)
        if fake:
            self._record_only(migration, backwards=True)
        else:
            state = self._run(state, migration, backwards=True)
        self._report("unapply_success", migration, fake)
        return state

    def _report(self, action, migration, fake):
        if self.progress_callback:
            self.progress_callback(action, migration, fake)

    # The record

    def _record(self, migration, backwards):
        """Return the statements that write the rows of django_migrations."""
        names = list(migration.replaces)
        if backwards or not names:
            names.append((migration.app_label, migration.name))
        meta = self.recorder.Migration._meta
        quote = self.connection.ops.quote_name
        table = quote(meta.db_table)
        columns = [quote(meta.get_field(name).column) for name in ("app", "name", "applied")]
        if backwards:
            sql = f"DELETE FROM {table} WHERE {columns[0]} = %s AND {columns[1]} = %s"  # noqa: S608
            return [(sql, (app, name)) for app, name in names]
        applied = meta.get_field("applied").get_db_prep_save(now(), self.connection)
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES (%s, %s, %s)"  # noqa: S608
        return [(sql, (app, name, applied)) for app, name in names]

    def _record_only(self, migration, backwards):
        self.recorder.ensure_schema()
        self.progress.load()
        with self.connection.schema_editor(atomic=True) as editor:
            editor.collects = True
            for sql, params in self._record(migration, backwards) + self.progress.forget(migration):
                editor.execute(sql, params)

    # Running

    def _run(self, state, migration, backwards):
        self.recorder.ensure_schema()
        with self._lease(), self.connection.schema_editor(atomic=migration.atomic) as editor:
            editor.collects = editor.atomic_migration or editor.collects
            if editor.atomic_migration:
                step = migration.unapply if backwards else migration.apply
                with _at_once(migration, self.connection, backwards):
                    state = step(state, editor)
                forget = []
            else:
                state = _Pieces(self, migration, editor, backwards).run(state)
                forget = self.progress.forget(migration)
            for sql, params in self._record(migration, backwards) + forget:
                editor.execute(sql, params)
        return state

    @contextmanager
    def _lease(self):
        """Let transactions hold their object for a migration's lease in this block.

        OPTIONS["migration_lease"] is the lease in seconds.
        """
        self.connection.ensure_connection()
        driver_connection = self.connection.connection
        before = driver_connection.lease
        options = self.connection.settings_dict.get("OPTIONS", {})
        driver_connection.lease = float(options.get("migration_lease", DEFAULT_LEASE))
        try:
            yield
        finally:
            driver_connection.lease = before


# What to run, where and in which direction.
_Run = namedtuple("_Run", "migration connection backwards")


class _Pieces:
    """A migration that no single transaction holds.

    It runs in batches, each of which records the progress.
    """

    def __init__(self, executor, migration, editor, backwards):
        self.executor = executor
        self.connection = executor.connection
        self.progress = executor.progress
        self.migration = migration
        self.editor = editor
        self.backwards = backwards
        self.done = 0
        self.steps = []

    def run(self, state):
        """Run the remaining operations and return the new state.

        The last statements stay queued in the editor.
        """
        state = self._plan(state)
        self.done = self.progress.done(self.migration, self.backwards, self._fingerprint)
        self._announce()
        self.editor.on_cut = self._note
        self.editor.collects = True
        for index, (operation, from_state, to_state) in enumerate(self.steps):
            if index < self.done:
                continue
            python, foreign = _runs_python(operation, self), _runs_foreign(operation, self)
            if python and self.editor.has_queued:
                self._note()
                self.editor.flush(last=True)
            self._execute(operation, from_state, to_state, direct=python or foreign)
            self.editor.operation_boundary()
            self.done = index + 1
            # Another package's operation may have nothing to do here.
            has_cut = python or (foreign and self.editor.has_run_at_once)
            if self.done < len(self.steps) and (has_cut or self._each_alone):
                self._note()
                self.editor.flush(last=True)
        self.editor.on_cut = None
        return state

    def _plan(self, state):
        """Fill `steps`, in the order in which they run; return the final state.

        A step is (operation, state before it, state after it).
        """
        for operation in self.migration.operations:
            if self.backwards and not operation.reversible:
                raise IrreversibleError(f"Operation {operation} in {self.migration} is not reversible")
            before, state = state, state.clone()
            operation.state_forwards(self.migration.app_label, state)
            self.steps.append((operation, before, state))
        if self.backwards:
            self.steps = [(operation, after, before) for operation, before, after in reversed(self.steps)]
            return self.steps[-1][2] if self.steps else state
        return state

    def _execute(self, operation, from_state, to_state, direct):
        run = operation.database_backwards if self.backwards else operation.database_forwards
        migration = self.migration
        wants_atomic = operation.atomic or (migration.atomic and operation.atomic is not False)
        with ExitStack() as stack:
            if direct:
                stack.enter_context(self.editor.at_once())
            if direct and wants_atomic:
                stack.enter_context(atomic(self.connection.alias))
            run(migration.app_label, self.editor, from_state, to_state)

    # Chunks

    def _note(self):
        """Queue the record of the operations done, before the queued statements are sent."""
        if self.done:
            self.editor.note(
                self.progress.note(self.migration, self.backwards, self.done, self._fingerprint(self.done))
            )

    @property
    def _each_alone(self):
        # A migration with atomic = False needs short transactions on a Durable Object; D1 holds nothing.
        return self.connection.features.can_rollback_ddl

    def _fingerprint(self, done):
        """Return a digest of the operations done, which changes if one of them is edited."""
        lines = [f"{type(step[0]).__name__} {step[0].describe()}" for step in self.steps[:done]]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _announce(self):
        if self.done:
            logger.warning(
                "%s was interrupted earlier. It continues after %d of its %d operations.",
                self.migration,
                self.done,
                len(self.steps),
            )
        left = [operation for operation, *_ in self.steps[self.done :]]
        pieces = _count_pieces(left, self)
        if pieces > 1 and not self._each_alone:
            logger.warning(
                "%s runs Python code, so on %s it needs %d batches instead of one. If it fails in "
                "between, run the same command again to continue with the batch that failed.",
                self.migration,
                self.connection.display_name,
                pieces,
            )


def _flat(operation):
    if isinstance(operation, SeparateDatabaseAndState):
        return [inner for outer in operation.database_operations for inner in _flat(outer)]
    return [operation]


def _runs_python(operation, run):
    """Whether an operation calls code that may read what it wrote before."""
    return any(isinstance(inner, RunPython) and _is_active(inner, run) for inner in _flat(operation))


def _runs_foreign(operation, run):
    """Return whether an operation belongs to another package.

    Its code may catch errors of its statements.
    """
    return any(
        _is_foreign(inner, run.backwards) for inner in _flat(operation) if not isinstance(inner, RunPython)
    )


def _runs_code(operation, run):
    """Whether an operation's statements run at once."""
    return _runs_python(operation, run) or _runs_foreign(operation, run)


def _is_foreign(operation, backwards):
    """Whether an operation changes the database with code that is not Django's own."""
    method = type(operation).database_backwards if backwards else type(operation).database_forwards
    return not method.__module__.startswith("django.")


class _AtOnce:
    """An operation whose statements run at once, so that it can catch their errors.

    They run after those before it.
    """

    def __init__(self, operation):
        self._operation = operation

    def __getattr__(self, name):
        return getattr(self._operation, name)

    def database_forwards(self, app_label, editor, from_state, to_state):
        with editor.at_once():
            self._operation.database_forwards(app_label, editor, from_state, to_state)

    def database_backwards(self, app_label, editor, from_state, to_state):
        with editor.at_once():
            self._operation.database_backwards(app_label, editor, from_state, to_state)


@contextmanager
def _at_once(migration, connection, backwards):
    """Run the statements of operations with their own code at once in this block."""
    run = _Run(migration, connection, backwards)
    operations = migration.operations
    migration.operations = [_AtOnce(one) if _runs_code(one, run) else one for one in operations]
    try:
        yield
    finally:
        migration.operations = operations


def _is_active(operation, run):
    code = operation.reverse_code if run.backwards else operation.code
    allowed = router.allow_migrate(run.connection.alias, run.migration.app_label, **operation.hints)
    return allowed and code is not RunPython.noop


def _count_pieces(operations, run):
    """Return the number of chunks of a migration.

    Each operation with code is a chunk, and so is each run of others between them.
    """
    pieces, open_piece = 0, False
    for operation in operations:
        code = _runs_code(operation, run)
        pieces += code or not open_piece
        open_piece = not code
    return pieces
