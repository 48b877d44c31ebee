"""The dialect's compilers; an INSERT inside batch() gives its objects their keys once the batch was sent."""

from itertools import chain

from django.db import NotSupportedError
from django.db.backends.utils import debug_transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.constants import OnConflict
from django.db.models.sql import Query
from django.db.models.sql.constants import ROW_COUNT

from do_bridge.backends.remote_sqlite import compiler
from do_bridge.backends.remote_sqlite.compiler import SQLDeleteCompiler
from do_bridge.driver.sql import prepare

from .connection import PendingCount
from .deferred import Deferred, ProbedCount
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
    """An empty row for each object of an INSERT that waits; false, so that Django assigns nothing."""

    def __bool__(self):
        return False


class UnsentUpdate:
    """What Model.save() gets from an UPDATE that waits: true if the row is there, and no value.

    Django defers the fields that it expected values of, so that reading one afterwards is a query.
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
        if isinstance(batch, Deferred):
            self._take_over(batch)
        statements = self.as_sql()
        with debug_transaction(self.connection, statements[0][0]), self.connection.wrap_database_errors:
            results = self.connection.connection.run_many([prepare(*item) for item in statements])
            if returning_fields:
                batch.when_sent(lambda: self._assign(results))
                self._expect_keys(batch)
            if isinstance(batch, Deferred):
                self._settle(batch)
        return self._nothing_yet(returning_fields)

    def _refuse_keyless(self, batch):
        """Raise NotSupportedError for an object whose key is not there yet: Django takes it for a new one."""
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

    def _take_over(self, batch):
        """Let this be no error where the object's UPDATE, just before, will find a row that waits."""
        entry = batch.last_write()
        if entry is None or not entry.missed or len(self.query.objs) != 1:
            return
        meta = self.query.get_meta()
        if entry.count.is_for(meta.pk, getattr(self.query.objs[0], meta.pk.attname)):
            entry.followed = True
            self.query.on_conflict = OnConflict.UPDATE
            # The UPDATE has written the other columns by then.
            self.query.unique_fields = self.query.update_fields = meta.pk_fields

    def _settle(self, batch):
        """Name the object for errors, and send a row whose key the database makes: others will need it."""
        meta = self.query.get_meta()
        if len(meta.pk_fields) == 1:
            for instance in self.query.objs:
                if (value := getattr(instance, meta.pk.attname)) is not None:
                    batch.expect_row(meta.pk, value)
        if self.query.raw and len(self.query.objs) == 1:
            (instance,) = self.query.objs
            batch.entries[-1].label = f"{instance._meta.label}(pk={instance.pk})"
        if self.returning_fields and any(instance.pk is None for instance in self.query.objs):
            batch.settle()

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
        if isinstance(count, ProbedCount):
            conditions = self.query.where.children
            count.condition = conditions[0] if len(conditions) == 1 else None
            batch = self.connection.connection.batch
            count.probe = lambda: count.finds(batch.waiting) or self._finds_rows()
        return count

    def _finds_rows(self):
        query = self.query.chain(klass=Query).exists()
        with self.connection.connection.batch.peeking():
            return query.get_compiler(connection=self.connection).has_results()
