"""The dialect's operations, sent to D1 as batches where no result is needed in between."""

from do_bridge.backends.remote_sqlite import operations, rebuild
from do_bridge.backends.remote_sqlite.statements import send


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "do_bridge.backends.d1.compiler"

    def execute_sql_flush(self, sql_list):
        """Empty tables in one atomic batch; rows elsewhere that would then point nowhere make it fail."""
        statements = [(sql, None) for sql in sql_list]
        if not statements:
            return
        deferred = [(rebuild.DEFER_FOREIGN_KEYS, None), *statements, (rebuild.refuse_dangling_rows(), None)]
        with rebuild.guarded():
            send(self.connection, deferred)
