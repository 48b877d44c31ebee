"""The changes by OPTIONS["transactions"] = "optimistic".

Blocks behave as on a Durable Object.
"""

from contextlib import nullcontext

from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from do_bridge.backends.remote_sqlite import base
from do_bridge.backends.remote_sqlite.blocks import linked

from .conflict import ConflictWrapper
from .features import OptimisticFeatures


class Optimistic:
    """Part of the connection wrapper: blocks are tried in batches that D1 rolls back."""

    features_class = OptimisticFeatures

    # Without what the other mode does in place of transactions.
    _set_autocommit = base.DatabaseWrapper._set_autocommit
    _start_transaction_under_autocommit = base.DatabaseWrapper._start_transaction_under_autocommit
    _commit = base.DatabaseWrapper._commit
    _rollback = base.DatabaseWrapper._rollback
    _begin_next = base.DatabaseWrapper._begin_next
    _savepoint_allowed = base.DatabaseWrapper._savepoint_allowed
    _savepoint_commit = base.DatabaseWrapper._savepoint_commit

    def get_connection_params(self):
        parameters = super().get_connection_params()
        parameters["optimistic"] = True
        if "max_writes" in self.settings_dict["OPTIONS"]:
            parameters["max_writes"] = int(self.settings_dict["OPTIONS"]["max_writes"])
        return parameters

    @cached_property
    def wrap_database_errors(self):
        return ConflictWrapper(self)

    def _savepoint(self, sid):
        base.DatabaseWrapper._savepoint(self, sid)
        self._mark(sid)

    def _savepoint_rollback(self, sid):
        base.DatabaseWrapper._savepoint_rollback(self, sid)
        _, queued = self._marks.get(sid, (0, 0))
        if self.connection.batch is not None:
            self.connection.batch.truncate(queued)

    @async_unsafe
    def close(self):
        self.validate_thread_sharing()
        if self.connection is not None:
            self.connection.batch = None
        base.DatabaseWrapper.close(self)

    def _send_batch(self, batch, alone):
        # A block that holds nothing else needs no trial: its batch is atomic by itself. A tenant that has
        # taken part commits before this database does.
        is_all = alone and not linked.has_followers(self)
        with self.connection.outside() if is_all else nullcontext():
            batch.send()
