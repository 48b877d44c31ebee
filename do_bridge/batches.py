"""Writes that belong together: one atomic batch on D1, one transaction elsewhere."""

from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections, transaction


@contextmanager
def batch(using=None):
    """Return a context manager that carries out its block's writes all together or not at all.

    On a D1 alias the writes are collected and sent as one batch when the block ends; an exception inside
    sends nothing, a nested batch joins the outer one. So inside the block reads don't see the queued writes,
    primary keys and `update()`'s row counts are not known yet, an object that waits for its key can't be
    saved again, `save()` takes an object with a primary key for a row that exists (if none is there, the
    whole batch fails), and errors, `IntegrityError` with the statement's index among them, come at the
    block's end. Every other alias has transactions: there this is
    `transaction.atomic(using)`.

    Without `using` the current tenant's database is covered too, as by `atomic()`: its transaction commits
    once the batch has been carried out, and is rolled back if the batch fails.
    """
    # Looked up when the block begins: a decorated function may be called in any thread.
    connection = connections[using or DEFAULT_DB_ALIAS]
    block = transaction.atomic(using)
    with connection.batch(block) if hasattr(connection, "batch") else block:
        yield
