"""The context manager batch(): one atomic batch on D1, one transaction elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections, transaction


@contextmanager
def batch(using: str | None = None) -> Iterator[None]:
    """Return a context manager that carries out all writes of its block or none.

    On a D1 alias the writes are sent as one batch when the block ends. If the block raises an exception, none
    is sent. A nested batch joins the outer one. Inside the block:

    * reads don't see the waiting writes;
    * primary keys and `update()`'s row counts are not known yet, and an object that waits for its key
      cannot be saved again;
    * `save()` expects that an object with a primary key has a row; if it has none, the whole batch fails;
    * errors are raised at the end of the block; `IntegrityError` names the statement's index.

    Every other alias has transactions, so there this is `transaction.atomic(using)`.

    Without `using` the block covers the current tenant's database too, as `atomic()` does: its transaction
    commits after the batch has been carried out, and is rolled back if the batch fails.
    """
    # Looked up here, because a decorated function may be called in any thread.
    connection = connections[using or DEFAULT_DB_ALIAS]
    block = transaction.atomic(using)
    with connection.batch(block) if hasattr(connection, "batch") else block:
        yield
