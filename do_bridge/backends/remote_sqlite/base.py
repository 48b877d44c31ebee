"""The connection wrapper that both engines share.

It is that of sqlite3, with a remote driver in place of the module.
"""

from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3 import base as sqlite3_base
from django.db.backends.utils import debug_transaction
from django.utils.asyncio import async_unsafe

from do_bridge import driver as Database
from do_bridge.backends.environment import in_test_environment
from do_bridge.driver.places import split_place
from do_bridge.driver.transports.secret import Secret

from . import read_ahead
from .blocks import callbacks, linked
from .client import DatabaseClient
from .creation import DatabaseCreation
from .features import SQLITE_VERSION, DatabaseFeatures
from .introspection import DatabaseIntrospection
from .operations import DatabaseOperations
from .schema import DatabaseSchemaEditor
from .statements import settle


class DatabaseWrapper(sqlite3_base.DatabaseWrapper):
    """One connection of an alias.

    Subclasses define its database in `get_connection_params`.
    """

    display_name = "SQLite on Cloudflare"
    Database = Database
    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations

    #: Its Part of the blocks that cover it, while it is in one; see linked.py.
    linked_part = None
    is_catching_up = False

    def __init__(self, settings_dict, *args, **kwargs):
        self._is_in_block = False
        super().__init__(settings_dict, *args, **kwargs)
        # Frames of this package have the settings in their variables, which a traceback page shows.
        if settings_dict.get("PASSWORD"):
            settings_dict["PASSWORD"] = Secret(settings_dict["PASSWORD"])

    def get_connection_params(self):
        """Return the arguments of `driver.connect`.

        They are `transport`, `database` (`do:…` or `d1:…`), `timeout` and others.
        """
        raise NotImplementedError("Subclasses must define get_connection_params().")

    def require_settings(self, **meanings):
        """Raise ImproperlyConfigured for the first empty setting, without showing values."""
        for name, meaning in meanings.items():
            if not self.settings_dict.get(name):
                raise ImproperlyConfigured(
                    f"DATABASES[{self.alias!r}][{name!r}] is empty. Set it to {meaning}."
                )

    def require_known_options(self, known):
        """Raise ImproperlyConfigured for an unknown name in OPTIONS.

        The message has no values.
        """
        self._read_transaction_mode()
        if unknown := set(self.settings_dict["OPTIONS"]) - {*known, "transaction_mode"}:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS'] has the unknown "
                f"{', '.join(sorted(map(repr, unknown)))}. Use {', '.join(map(repr, known))}."
            )

    def _read_transaction_mode(self):
        """Set `transaction_mode` from the OPTIONS, as Django's sqlite3 backend does.

        The mode changes nothing here: a transaction of an object is exclusive, and D1 has none. Raises
        ImproperlyConfigured for an unknown one.
        """
        mode = self.settings_dict["OPTIONS"].get("transaction_mode")
        if mode is not None and mode.upper() not in self.transaction_modes:
            allowed = ", ".join(map(repr, sorted(self.transaction_modes)))
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['transaction_mode'] is {mode!r}. "
                f"Use one of {allowed}, or None."
            )
        self.transaction_mode = mode.upper() if mode else None

    def check_test_database(self):
        """Raise ImproperlyConfigured if a test run would use another than a test database."""
        if not in_test_environment() and not self.creation.are_tests_on():
            return
        name = self.settings_dict["NAME"]
        # A connection that was opened before the tests began leads to the database that the alias had then.
        database = None if self.connection is None else self.connection.database
        leads_to = name if database is None else split_place(database)[0].partition(":")[2]
        if leads_to != name or not self.creation.is_test_database():
            raise ImproperlyConfigured(
                f"A test run may not connect to the configured database of {self.alias!r}. Add the "
                "alias to `databases` of the test case, and for D1 set TEST['NAME'] to the id of "
                "another database."
            )

    @async_unsafe
    def get_new_connection(self, conn_params):
        self.check_test_database()
        connection = Database.connect(**conn_params)
        connection.name = self.alias
        return connection

    @async_unsafe
    def connect(self):
        # Django looks for blocks while it sets the connection up, which is too early to open one.
        with linked.alone(self):
            super().connect()

    @async_unsafe
    def ensure_connection(self):
        # Code that closed the driver's connection itself left nothing open that could be lost.
        if self.connection is not None and self.connection.closed and not self._is_in_block:
            self.connection = None
        if self.connection is not None:
            self.check_test_database()
            return
        with linked.alone(self):
            super().ensure_connection()

    def init_connection_state(self):
        # The version is a constant of the runtime, and foreign keys are always on, so there is nothing to
        # read or set.
        BaseDatabaseWrapper.init_connection_state(self)

    def get_database_version(self):
        return SQLITE_VERSION

    def create_cursor(self, name=None):
        return read_ahead.cursor_of(self)

    @property
    def queries_logged(self):
        # A statement that is only looked at runs, and is logged, later.
        return super().queries_logged and not read_ahead.is_peeking()

    @async_unsafe
    def close(self):
        BaseDatabaseWrapper.close(self)

    def is_in_memory_db(self):
        return False

    def is_usable(self):
        # The driver replaces a broken session at the next call: only a closed connection is unusable.
        return not self.connection.closed

    # Blocks: also those on the default alias that cover this one.

    @property
    def in_atomic_block(self):
        """Whether a block is open here.

        It is a block of this connection, or one that covers it.
        """
        if not self._is_in_block:
            linked.catch_up(self)
        return self._is_in_block

    @in_atomic_block.setter
    def in_atomic_block(self, value):
        self._is_in_block = value

    def on_commit(self, func, robust=False):
        super().on_commit(callbacks.wrapped(func), robust)

    def get_autocommit(self):
        linked.catch_up(self)
        return super().get_autocommit()

    @contextmanager
    def last_write(self, model, *, ends_block=False):
        """Commit a block together with its last write.

        The block is the outermost one that is opened inside this context. Its last write is the next one to
        the model's table. With `ends_block` the block is the one that is open now, unless others are around
        it. Inside another block this does nothing. It saves the round trip of the commit.
        """
        if ends_block:
            links = linked.links_of(self)
            is_linked = self.linked_part is not None or (links is not None and bool(links.steps))
            is_meant = len(self.atomic_blocks) == 1 and not is_linked
        else:
            is_meant = not self.in_atomic_block and self.get_autocommit()
        if not is_meant or not self.features.supports_transactions:
            yield
            return
        self.ensure_connection()
        table = self.ops.quote_name(model._meta.db_table)
        with self.connection.last_write(f"INSERT INTO {table}", f"UPDATE {table}"):
            yield

    def validate_no_broken_transaction(self):
        # Called before each statement.
        linked.before_statement(self)
        super().validate_no_broken_transaction()

    def _set_autocommit(self, autocommit):
        # In autocommit the driver has no open transaction; `begin` costs no round trip before the first
        # statement.
        with self.wrap_database_errors:
            if autocommit:
                if self.connection.in_transaction:
                    self.connection.commit()
            else:
                self.connection.begin()

    def _commit(self):
        super()._commit()
        self._begin_next()

    def _rollback(self):
        super()._rollback()
        self._begin_next()

    def _begin_next(self):
        # With autocommit off, the next statement belongs to a new transaction. After a block of atomic() this
        # one ends empty, at no cost.
        if not self.autocommit and self.connection is not None and self.features.supports_transactions:
            with self.wrap_database_errors:
                self.connection.begin()

    def _start_transaction_under_autocommit(self):
        with debug_transaction(self, "BEGIN"), self.wrap_database_errors:
            self.connection.begin()

    # What is done by hand inside a block that covers other connections is done on those too.

    def savepoint(self):
        sid = super().savepoint()
        if sid is not None and (links := linked.links_of(self)) is not None:
            links.savepoint(sid)
        return sid

    def savepoint_rollback(self, sid):
        super().savepoint_rollback(sid)
        if (links := linked.links_of(self)) is not None:
            links.roll_back_to(sid)

    def savepoint_commit(self, sid):
        super().savepoint_commit(sid)
        if (links := linked.links_of(self)) is not None:
            links.release(sid)

    def get_rollback(self):
        return super().get_rollback() or linked.is_broken(self)

    def set_rollback(self, rollback):
        super().set_rollback(rollback)
        if not rollback and (links := linked.links_of(self)) is not None:
            links.forgive()

    def _savepoint_allowed(self):
        return self.features.uses_savepoints and self.in_atomic_block

    def _savepoint(self, sid):
        # Otherwise a rollback to it would undo what a migration did before.
        settle(self)
        self._savepoint_step(self.connection.savepoint, self.ops.savepoint_create_sql(sid), sid)

    def _savepoint_rollback(self, sid):
        self._savepoint_step(self.connection.rollback_to, self.ops.savepoint_rollback_sql(sid), sid)

    def _savepoint_commit(self, sid):
        self._savepoint_step(self.connection.release, self.ops.savepoint_commit_sql(sid), sid)

    def _savepoint_step(self, step, sql, sid):
        # The runtime refuses SAVEPOINT as a statement; the log shows what another SQLite would receive.
        super().validate_no_broken_transaction()
        with debug_transaction(self, sql), self.wrap_database_errors:
            step(sid)

    def disable_constraint_checking(self):
        """Defer foreign keys to the end of the open transaction, if there is one.

        Returns whether they are deferred. `PRAGMA foreign_keys=off` is never sent: a Durable Object would
        keep it for later requests.
        """
        if not self.features.supports_transactions or not self.in_atomic_block:
            return False
        with self.cursor() as cursor:
            cursor.execute("PRAGMA defer_foreign_keys = on")
        return True

    def enable_constraint_checking(self):
        # A block that has failed is rolled back, and the pragma ends with its transaction anyway.
        if self.in_atomic_block and not self.needs_rollback:
            with self.cursor() as cursor:
                cursor.execute("PRAGMA defer_foreign_keys = off")

    def check_constraints(self, table_names=None):
        """Raise IntegrityError for a row that references a missing row.

        The rows of the named tables are checked, or those of all.
        """
        if table_names is None:
            statements = ["PRAGMA foreign_key_check"]
        else:
            statements = [f"PRAGMA foreign_key_check({self.ops.quote_name(name)})" for name in table_names]
        if not statements:
            return
        settle(self)
        with self.cursor() as cursor, self.wrap_database_errors:
            results = self.connection.execute_batch([(sql, None) for sql in statements])
            for result in results:
                for table_name, rowid, referenced_table, key_index in result.rows:
                    self._raise_violation(cursor, table_name, rowid, referenced_table, key_index)

    def _raise_violation(self, cursor, table_name, rowid, referenced_table, key_index):
        quote = self.ops.quote_name
        cursor.execute(f"PRAGMA foreign_key_list({quote(table_name)})")
        keys = [row for row in cursor.fetchall() if row[0] == key_index]
        column, referenced_column = keys[0][3:5]
        pk_column = self.introspection.get_primary_key_column(cursor, table_name)
        columns = f"{quote(pk_column)}, {quote(column)}"
        cursor.execute(f"SELECT {columns} FROM {quote(table_name)} WHERE rowid = %s", (rowid,))  # noqa: S608
        pk, value = cursor.fetchone()
        raise IntegrityError(
            f"The row in table '{table_name}' with primary key '{pk}' has an invalid foreign key: "
            f"{table_name}.{column} contains a value '{value}' that does not have a corresponding value in "
            f"{referenced_table}.{referenced_column}."
        )
