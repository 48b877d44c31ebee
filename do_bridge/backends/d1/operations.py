"""The dialect's operations for D1: its compilers know of batches."""

from do_bridge.backends.remote_sqlite import operations


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "do_bridge.backends.d1.compiler"
