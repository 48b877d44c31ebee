"""The schema editor: Django's for sqlite3, with immediate foreign keys.

It sends its statements together.
"""

import datetime
import decimal
import logging
import uuid
from contextlib import contextmanager

from django.db import NotSupportedError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor
from django.db.transaction import TransactionManagementError
from django.utils.duration import duration_microseconds

from do_bridge.django_compat import INLINE_FOREIGN_KEY
from do_bridge.driver.limits import SQL_BYTES
from do_bridge.driver.sql import tokens

from . import kept_rows, rebuild
from .queries.deep import GroupsConditions
from .statements import send, settle

logger = logging.getLogger("django.db.backends.schema")


class DeferredStatements(list):
    """Statements for the end of the editor's block.

    The list is false if they run in one unit with what follows them.

    Django's migration executor records a migration inside the block only if nothing is deferred, because
    elsewhere the deferred statements may fail after the record is written. Here both succeed or fail
    together.
    """

    def __init__(self, statements, one_unit):
        super().__init__(statements)
        self.one_unit = one_unit

    def __bool__(self):
        return not self.one_unit and len(self) > 0


class DatabaseSchemaEditor(GroupsConditions, SQLiteSchemaEditor):
    """A schema editor that queues its statements and sends them together.

    It sends them at the block's end, or before another statement runs.
    """

    # A violated deferred key resets a Durable Object, and is an "internal error" on D1.
    sql_create_inline_fk = INLINE_FOREIGN_KEY
    sql_create_column_inline_fk = sql_create_inline_fk

    def __init__(self, connection, collect_sql=False, atomic=True):
        super().__init__(connection, collect_sql, atomic)
        #: Whether statements wait for each other: in a migration, and always on D1. Otherwise each runs at
        #: once, so that an error comes from its own line, and only a rebuild goes together.
        self.collects = not connection.features.can_rollback_ddl
        #: Called before a read splits the queue; the migration executor records its progress there.
        self.on_cut = None
        #: Whether statements run at once: Python code that uses the editor may read what it did.
        self.direct = False
        #: Whether the last block of `at_once()` has run a statement.
        self.has_run_at_once = False
        self._queue = []
        self._operation_start = 0
        self._defers = False
        self._rebuilds = None
        self._introspecting = False
        self._outer_editor = None
        self._is_open = False

    # The block

    def __enter__(self):
        # Not sqlite3's own, which switches foreign keys off; on a Durable Object they would stay off.
        settle(self.connection)
        super(SQLiteSchemaEditor, self).__enter__()
        self.connection.execute_wrappers.append(self._before_other_statement)
        self._outer_editor = getattr(self.connection, "open_schema_editor", None)
        self.connection.open_schema_editor = self
        self._is_open = True
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        try:
            if exc_type is None:
                self._run_deferred()
                self.flush(last=True)
        except BaseException as error:
            self._leave(type(error), error, error.__traceback__)
            raise
        self._leave(exc_type, exc_value, traceback)

    def _leave(self, exc_type, exc_value, traceback):
        self._queue.clear()
        self.connection.execute_wrappers.remove(self._before_other_statement)
        self.connection.open_schema_editor = self._outer_editor
        self._is_open = False
        # The deferred statements have run above.
        self.deferred_sql = []
        super(SQLiteSchemaEditor, self).__exit__(exc_type, exc_value, traceback)

    @property
    def deferred_sql(self):
        return self._deferred_sql

    @deferred_sql.setter
    def deferred_sql(self, statements):
        self._deferred_sql = DeferredStatements(statements, one_unit=self.collects or self.atomic_migration)

    def _run_deferred(self):
        for sql in list(self.deferred_sql):
            self.execute(sql, None)
        self.deferred_sql = []

    # Statements

    def execute(self, sql, params=()):
        """Queue a statement; errors come when it is sent.

        None and () leave the SQL as it stands. With a list, also an empty one, `%%` becomes `%`, as RunSQL's
        parameters have it on sqlite3.
        """
        self._refuse_inside_a_block()
        statement = (str(sql), None if params == () else params)
        if self._rebuilds is not None:
            self._rebuilds[-1].statements.append(statement)
        else:
            self._emit([statement])

    def _refuse_inside_a_block(self):
        """Raise Django's error for DDL in a block of atomic() that can't undo it."""
        if self.collect_sql or self.connection.features.can_rollback_ddl:
            return
        if self.direct or (self._outer_editor is not None and self._outer_editor.direct):
            return  # The migration executor has logged already what cannot be undone.
        in_batch = getattr(self.connection.connection, "batch", None) is not None
        if self.connection.in_atomic_block and not in_batch:
            raise TransactionManagementError(
                "Executing DDL statements while in a transaction on databases that can't perform a rollback "
                "is prohibited."
            )

    def defer_constraints(self):
        """Check foreign keys after the queued statements have run.

        The check runs at the block's end at the latest.
        """
        self._defers = True

    def _emit(self, statements):
        if self.direct and not self.collect_sql:
            self.settle()
            self.has_run_at_once = True
        # After its block an editor has nothing to wait for.
        at_once = self.direct or not self.collects or not self._is_open
        plain = len(statements) == 1 and not self._defers and not self._queue
        alone = at_once and plain and self.connection.features.can_rollback_ddl
        for sql, params in statements:
            _check_size(sql)
            if self.collect_sql or alone:
                BaseDatabaseSchemaEditor.execute(self, sql, params)
            else:
                logger.debug("%s", sql, extra={"sql": sql})
                self._queue.append((sql, params))
        if at_once and self._queue:
            self.flush(last=not self._is_open or not self.atomic_migration)

    @property
    def has_queued(self):
        """Whether statements wait to be sent."""
        return bool(self._queue)

    def note(self, statements):
        """Queue statements before those of the open operation.

        They belong to the complete operations.
        """
        at = self._operation_start
        self._queue[at:at] = statements
        self._operation_start += len(statements)

    def flush(self, last=False):
        """Send the queued statements.

        They are steps of the open transaction, or else one atomic batch.
        """
        queue, self._queue, self._operation_start = self._queue, [], 0
        self._send(queue, last)

    def _send(self, statements, last=False):
        if self._defers:
            # On D1 each batch must be whole in itself; in a transaction the keys are checked once, at its
            # end.
            check = last or not self.connection.features.can_rollback_ddl
            guard = [(rebuild.refuse_dangling_rows(), None)] if check else []
            statements = [(rebuild.DEFER_FOREIGN_KEYS, None), *statements, *guard]
            self._defers = not check
        with rebuild.guarded():
            send(self.connection, statements)

    # Operations of a migration

    @contextmanager
    def at_once(self):
        """Run each statement of the block at once, after the queued ones.

        So the statement itself raises its error.
        """
        before, self.direct = self.direct, True
        self.has_run_at_once = False
        try:
            yield
        finally:
            self.direct = before

    def operation_boundary(self):
        """Mark an operation of a migration, with its indexes, as complete.

        Call it before the next operation begins.
        """
        self._run_deferred()
        self._operation_start = len(self._queue)

    def _before_other_statement(self, execute, sql, params, many, context):
        """Send the queued statements before another statement runs on the connection.

        That statement may read what they write.
        """
        if self._introspecting and self.on_cut is not None:
            # The editor looks for the name of a constraint that existed before the operation began. Its own
            # statements wait, so that a split falls between operations and the migration can be run again.
            own = self._queue[self._operation_start :]
            del self._queue[self._operation_start :]
            self.settle()
            self._queue = own
        else:
            self.settle()
        return execute(sql, params, many, context)

    def settle(self):
        """Send the queued statements and a record of the progress.

        Call it before another statement runs.
        """
        if not self._queue:
            return
        if self.on_cut is not None:
            self.on_cut()
        self.flush()

    def _constraint_names(self, *args, **kwargs):
        if not self.collect_sql:
            # An index that the same migration made may be among those looked for.
            self._run_deferred()
        self._introspecting = True
        try:
            return super()._constraint_names(*args, **kwargs)
        finally:
            self._introspecting = False

    # Tables

    def delete_model(self, model, handle_autom2m=True):
        if self._rebuilds is None:
            self._defers = True
            self._emit([(rebuild.refuse_on_delete_children(self.quote_value(model._meta.db_table)), None)])
        super().delete_model(model, handle_autom2m)

    def _remake_table(self, model, create_field=None, delete_field=None, alter_fields=None):
        if delete_field is not None and delete_field.many_to_many:
            super()._remake_table(model, create_field, delete_field, alter_fields)
            return
        with self._rebuilding():
            fields = {field.name: field for field in model._meta.local_concrete_fields}
            fields |= {new.name: new for _, new in alter_fields or ()}
            if create_field is not None:
                fields[create_field.name] = create_field
            self._rebuilds.append(
                rebuild.Rebuild(
                    model._meta.db_table.strip('"'),
                    self.quote_name,
                    self.quote_value,
                    any(field.db_type_suffix(self.connection) for field in fields.values()),
                    kept_rows.tables_after(model),
                )
            )
            super()._remake_table(model, create_field, delete_field, alter_fields)

    def _alter_field(self, model, old_field, new_field, *args, **kwargs):
        if self._is_renamed_only(model, old_field, new_field):
            super()._alter_field(model, old_field, new_field, *args, **kwargs)
            return
        with self._rebuilding():
            super()._alter_field(model, old_field, new_field, *args, **kwargs)

    def _is_renamed_only(self, model, old_field, new_field):
        """Return whether the column is only renamed, in place.

        sqlite3's editor renames a column without a relation in place, too.
        """
        constrained = any(field.remote_field and field.db_constraint for field in (old_field, new_field))
        same = self.column_sql(model, old_field) == self.column_sql(model, new_field)
        return old_field.column != new_field.column and same and not constrained

    @contextmanager
    def _rebuilding(self):
        """Collect the rebuilds of one alteration, and emit them together.

        The outermost block emits them at its end.
        """
        if self._rebuilds is not None:
            yield
            return
        self._rebuilds = []
        try:
            yield
            rebuilds = self._rebuilds
        finally:
            self._rebuilds = None
        self._defers = True
        self._emit(rebuild.in_order(rebuilds))

    def db_default_sql(self, field):
        sql, params = super().db_default_sql(field)
        # SQLite reports "not constant" for a subquery, which is how some functions are computed here.
        if any(word.upper() == "SELECT" for word, *_ in tokens(sql)):
            raise NotSupportedError(
                f"{field}: its db_default needs a subquery here, and SQLite does not allow one in "
                "a default. Compute the value in Python, or use default instead of db_default."
            )
        return sql, params

    # Literals: DDL cannot have parameters.

    def quote_value(self, value):
        """Return the SQL literal for `value`, as Django's sqlite3 backend stores it.

        Raises ValueError for an unsupported type.
        """
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return _quote_float(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"X'{bytes(value).hex()}'"
        return _quote_text(_as_text(value))


def _quote_float(value):
    if value != value:
        return "NULL"  # SQLite has no NaN; sqlite3 stores it so, too.
    if value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    return float.__repr__(value)


def _quote_text(text):
    if "\0" in text:
        # SQLite's parser would stop at the NUL.
        return f"(CAST(X'{text.encode().hex()}' AS TEXT))"
    return "'" + text.replace("'", "''") + "'"


def _as_text(value):
    if isinstance(value, str):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime.timedelta):
        return str(duration_microseconds(value))
    raise ValueError(
        f"A value of type {type(value).__name__} can't be written as an SQL literal. Convert it to a text, a "
        "number, bytes or None."
    )


def _check_size(sql):
    # A character takes at most four bytes, so most statements need not be encoded to be measured.
    if len(sql) * 4 > SQL_BYTES and (size := len(sql.encode())) > SQL_BYTES:
        raise NotSupportedError(
            f"The statement has {size:,} bytes, and D1 and Durable Objects accept "
            f"{SQL_BYTES:,}. Pass large values as parameters (RunSQL takes [(sql, "
            "params)]), or split the statement."
        )
