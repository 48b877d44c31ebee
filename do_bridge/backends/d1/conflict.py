"""The error of a block on D1 that another one has overtaken, as a Django error."""

from django.db import OperationalError
from django.db.utils import DatabaseErrorWrapper

from do_bridge import driver


class TransactionConflict(OperationalError):
    """Another block changed what this one had read or written.

    Nothing of this block was written. Run it again.
    """


class ConflictWrapper(DatabaseErrorWrapper):
    """Django's translation of the driver's errors, with an error for conflicts."""

    def __exit__(self, exc_type, exc_value, traceback):
        if isinstance(exc_value, driver.TransactionConflict):
            raise TransactionConflict(*exc_value.args).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)
