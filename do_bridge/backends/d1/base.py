"""The connection wrapper for D1, over either transport.

Its atomic() logs what it could not undo.
"""

import logging
import os
import weakref
from contextlib import contextmanager
from functools import partial

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils.asyncio import async_unsafe

from do_bridge import driver
from do_bridge.backends.remote_sqlite import base, rebuild
from do_bridge.backends.remote_sqlite.blocks import linked

from .connection import Batch, Connection
from .creation import DatabaseCreation
from .features import DatabaseFeatures
from .operations import DatabaseOperations
from .optimistic import Optimistic
from .replicas import session_of

logger = logging.getLogger("do_bridge.d1")

OPTIONS = (
    "transport",
    "account_id",
    "timeout",
    "pool_size",
    "spare_sessions",
    "connect_timeout",
    "transactions",
    "max_writes",
    "replicas",
)
MODES = ("none", "optimistic")


class DatabaseWrapper(base.DatabaseWrapper):
    """One connection to a D1 database.

    It goes through Cloudflare's API ("rest") or the relay ("relay").
    """

    display_name = "Cloudflare D1"
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    ops_class = DatabaseOperations

    def __new__(cls, settings_dict=None, *args, **kwargs):
        """Return a wrapper with transactions if OPTIONS["transactions"] is "optimistic"."""
        # copy() passes no settings, and the class itself.
        mode = (settings_dict or {}).get("OPTIONS", {}).get("transactions", "none")
        if mode == "optimistic" and cls is DatabaseWrapper:
            cls = OptimisticDatabaseWrapper
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # For each open block, by its savepoint's name: the counts of statements written and of statements
        # that waited in the batch when it began.
        self._marks = {}

    def get_connection_params(self):
        self.require_settings(
            NAME="the id of the D1 database",
            HOST="the relay's URL, or for OPTIONS['transport'] = 'rest' the base of the API",
            PASSWORD="the token of the relay or of the API",  # noqa: S106
        )
        options = self.settings_dict["OPTIONS"]
        self.require_known_options(OPTIONS)
        if options.get("transactions", "none") not in MODES:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['transactions'] is {options['transactions']!r}. Set "
                "it to 'none' or 'optimistic'."
            )
        self._check_replicas()
        parameters = {"transport": self.get_transport(), "database": "d1:" + self.settings_dict["NAME"]}
        if "timeout" in options:
            parameters["timeout"] = float(options["timeout"])
        return parameters

    def _check_replicas(self):
        """Raise ImproperlyConfigured for replicas that can't be used.

        The REST API has no sessions:
        https://developers.cloudflare.com/d1/best-practices/read-replication/#known-limitations
        """
        options = self.settings_dict["OPTIONS"]
        where = f"DATABASES[{self.alias!r}]['OPTIONS']['replicas']"
        if not isinstance(options.get("replicas", False), bool):
            raise ImproperlyConfigured(f"{where} is {options['replicas']!r}. Set it to True or False.")
        if options.get("replicas") and options.get("transport", "relay") != "relay":
            raise ImproperlyConfigured(
                f"{where} is True, but OPTIONS['transport'] is {options['transport']!r}. Cloudflare's API "
                "has no sessions. Set the transport to 'relay', or remove 'replicas'."
            )

    @property
    def reads_primary(self):
        """Whether a block is open, in which everything goes to the primary."""
        return self._is_in_block or not self.autocommit

    def get_transport(self):
        """Return the transport of this process that OPTIONS["transport"] names."""
        settings, options = self.settings_dict, self.settings_dict.get("OPTIONS", {})
        transport = options.get("transport", "relay")
        if transport == "relay":
            keywords = {name: options[name] for name in ("pool_size", "connect_timeout") if name in options}
            return driver.relay(settings["HOST"], settings["PASSWORD"], **keywords)
        if transport == "rest":
            return driver.rest(settings["HOST"], settings["PASSWORD"], options.get("account_id") or None)
        raise ImproperlyConfigured(
            f"DATABASES[{self.alias!r}]['OPTIONS']['transport'] is {transport!r}. Set it to "
            "'relay' or 'rest'."
        )

    @async_unsafe
    def get_new_connection(self, conn_params):
        self.check_test_database()
        connection = Connection(**conn_params)
        connection.name = self.alias
        return self._with_replicas(connection)

    def _with_replicas(self, connection):
        if self.settings_dict["OPTIONS"].get("replicas"):
            # Weak: the wrapper holds the connection.
            connection.replicas = partial(session_of, weakref.ref(self), connection.database)
        return connection

    # Blocks: nothing begins and nothing is undone; what has been written before a failure is logged.

    def _set_autocommit(self, autocommit):
        if not autocommit:
            self._mark(None)

    def _start_transaction_under_autocommit(self):
        self._mark(None)

    def _commit(self):
        self._marks.clear()
        self._begin_next()

    def _rollback(self):
        self._undo(None)
        self._marks.clear()
        self._begin_next()

    def _begin_next(self):
        if not self.autocommit and self.connection is not None:
            self._mark(None)

    def _savepoint_allowed(self):
        # Not a savepoint of SQL: a name for the place, so that an inner block may fail and the outer one go
        # on.
        return self.in_atomic_block

    def _savepoint(self, sid):
        self._mark(sid)

    def _savepoint_rollback(self, sid):
        self._undo(sid)

    def _savepoint_commit(self, sid):
        self._marks.pop(sid, None)

    def _mark(self, sid):
        batch = self.connection.batch
        self._marks[sid] = (self.connection.written, len(batch) if batch is not None else 0)

    def _undo(self, sid):
        if self.connection is None or sid not in self._marks:
            return
        written, queued = self._marks[sid]
        if self.connection.batch is not None:
            self.connection.batch.truncate(queued)
        standing = self.connection.written - written
        if standing:
            logger.error(
                "A block of atomic() on %r failed after %d statement(s) have been committed, and D1 can't "
                "undo them. Put writes that belong together into one do_bridge.batch() block.",
                self.alias,
                standing,
                extra={"alias": self.alias, "statements": standing},
            )
            # Log each statement once, with the innermost block that failed.
            self._marks = {name: (mark[0] + standing, mark[1]) for name, mark in self._marks.items()}

    def disable_constraint_checking(self):
        """Defer the foreign keys of an open schema editor, or else of a transaction."""
        editor = getattr(self, "open_schema_editor", None)
        if editor is not None:
            editor.defer_constraints()
            return True
        return super().disable_constraint_checking()

    def enable_constraint_checking(self):
        """Do nothing: an editor's batch and an optimistic block's commit check all keys."""

    @async_unsafe
    def close(self):
        self.validate_thread_sharing()
        try:
            if self.connection is not None and self.connection.pid != os.getpid():
                # A child's copy: the parent sends the waiting statements, and ends the block.
                self.connection.batch = None
            elif not self.autocommit:
                self._undo(None)
        finally:
            super().close()

    # Batches

    @contextmanager
    def batch(self, block=None):
        """Collect the block's writes and send them as one atomic batch at its end.

        See do_bridge.batch. `block` is the block of `atomic()` around them, by default one of this database
        alone.
        """
        block = block or transaction.atomic(using=self.alias)
        self.ensure_connection()
        driver_connection = self.connection
        if driver_connection.batch is not None:
            # If the inner block fails and the outer one continues, drop what was queued in here.
            with block:
                yield
            return
        is_outermost = not self.in_atomic_block
        # A block, so that on_commit() waits for the batch.
        with block:
            batch = driver_connection.batch = Batch(driver_connection)
            try:
                yield
            finally:
                driver_connection.batch = None
            # As with atomic(): set_rollback(True), or an error that was swallowed in here, undoes the block.
            if not self.needs_rollback and not linked.is_broken(self):
                with rebuild.guarded(), self.wrap_database_errors:
                    self._send_batch(batch, is_outermost)

    def _send_batch(self, batch, alone):
        batch.send()


class OptimisticDatabaseWrapper(Optimistic, DatabaseWrapper):
    """What DatabaseWrapper returns for OPTIONS["transactions"] = "optimistic"."""

    __qualname__ = "DatabaseWrapper"
