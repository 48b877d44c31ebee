"""The dialect's compilers for D1.

An INSERT inside batch() gives its objects their keys when the batch has been sent.
"""

from itertools import chain

from django.db import NotSupportedError
from django.db.backends.utils import debug_transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.sql.constants import ROW_COUNT

from do_bridge.backends.remote_sqlite import compiler
from do_bridge.backends.remote_sqlite.compiler import SQLDeleteCompiler
from do_bridge.driver.sql import prepare

from .connection import PendingCount
from .infinities import ReadableAggregates, ReadableSelect
from .reserved_keys import ReservingInsert

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]


class SQLCompiler(ReadableSelect, compiler.SQLCompiler):
    pass


class SQLAggregateCompiler(ReadableAggregates, compiler.SQLAggregateCompiler):
    pass


class UnsentRows(list):
    """An empty row for each object of an INSERT that waits.

    It is false, so that Django assigns nothing.
    """

    def __bool__(self):
        return False


class UnsentUpdate:
    """The result of an UPDATE that waits, for Model.save().

    It is true if the row exists, and has no values. Django defers the fields whose values it expected, so
    that reading one afterwards is a query.
    """

    def __init__(self, count):
        self._count = count

    def __bool__(self):
        return self._count is not None and self._count > 0

    def __getitem__(self, index):
        return ()


class SQLInsertCompiler(ReservingInsert, compiler.SQLInsertCompiler):
    def execute_sql(self, returning_fields=None):
        self.connection.ensure_connection()
        editor = getattr(self.connection, "open_schema_editor", None)
        if editor is not None and editor.collects and self._is_record():
            # Django's own executor records a migration inside the editor's block: the row joins the batch.
            for sql, params in self.as_sql():
                editor.execute(sql, params)
            return self._nothing_yet(returning_fields)
        batch = self.connection.connection.batch
        table = self.connection.ops.quote_name(self.query.get_meta().db_table)
        is_in_block = self.connection.connection.in_transaction
        if batch is None and is_in_block and not self.connection.connection.is_last(f"INSERT INTO {table}"):
            return self._execute_in_block(returning_fields)
        if batch is None:
            return super().execute_sql(returning_fields)
        self.returning_fields = returning_fields
        self.connection.validate_no_broken_transaction()
        self._refuse_keyless(batch)
        statements = self.as_sql()
        with debug_transaction(self.connection, statements[0][0]), self.connection.wrap_database_errors:
            results = self.connection.connection.run_many([prepare(*item) for item in statements])
            if returning_fields:
                batch.when_sent(lambda: self._assign(results))
                self._expect_keys(batch)
        return self._nothing_yet(returning_fields)

    def _refuse_keyless(self, batch):
        """Raise NotSupportedError for an object whose key is not there yet.

        Django would insert it as a new object.
        """
        for instance in self.query.objs:
            _, _, model = batch.keyless.get(id(instance), (None, None, None))
            # With `adding` set by hand, for the same table once more, it is meant as a copy.
            if model is not None and not (instance._state.adding and model is self.query.model):
                raise NotSupportedError(
                    f"This {instance._meta.object_name} has no primary key until its batch is sent at the "
                    "end of the block, so it can't be saved again, and no row can refer to it. Save it "
                    "outside the block, or set its key and call save(force_insert=(models.Model,))."
                )

    def _expect_keys(self, batch):
        key = self.query.get_meta().pk
        for instance in self.query.objs:
            if getattr(instance, key.attname) is None:
                batch.expect_key(instance, self.query.model)

    def _is_record(self):
        return self.query.get_meta().db_table == MigrationRecorder.Migration._meta.db_table

    def _nothing_yet(self, returning_fields):
        """Return a row without values for each object: Django assigns nothing from it."""
        return UnsentRows([()] * len(self.query.objs)) if returning_fields else []

    def _assign(self, results):
        rows = list(chain.from_iterable(result.rows[:] for result in results))
        table = self.query.get_meta().db_table
        converters = self.get_converters([field.get_col(table) for field in self.returning_fields])
        if converters:
            rows = self.apply_converters(rows, converters)
        for instance, row in zip(self.query.objs, rows, strict=True):
            for field, value in zip(self.returning_fields, row, strict=True):
                setattr(instance, field.attname, value)


class SQLUpdateCompiler(compiler.SQLUpdateCompiler):
    def execute_returning_sql(self, returning_fields):
        """Return the rows of a RETURNING clause; Model.save() calls this since Django 6.0."""
        self.connection.ensure_connection()
        if self.connection.connection.batch is None:
            return super().execute_returning_sql(returning_fields)
        return UnsentUpdate(self.execute_sql(ROW_COUNT))

    def execute_sql(self, result_type):
        count = super().execute_sql(result_type)
        if isinstance(count, PendingCount):
            count.is_told = True
        return count
