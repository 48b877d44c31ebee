"""Primary keys for a block's new rows, from ranges that are reserved, so that inserts do not conflict."""

from collections import defaultdict

from django.db import IntegrityError, OperationalError
from django.db.models import AutoField
from django.db.models.fields import AutoFieldMixin

LARGEST_RANGE = 32


class ReservedKeys:
    """The keys of one connection that no row has yet; later blocks use what a block leaves."""

    def __init__(self, connection):
        self._connection = connection
        self._left = {}
        self._next_size = defaultdict(lambda: 1)

    def take(self, table, count):
        """Return keys for new rows, reserved in a round trip of their own if too few are left."""
        left = self._left.setdefault(table, [])
        missing = count - len(left)
        if missing > 0:
            size = self._next_size[table]
            left += self._connection.reserve_keys(table, max(missing, size))
            self._next_size[table] = min(2 * size, LARGEST_RANGE)
        taken, left[:count] = left[:count], []
        return taken

    def forget(self, table=None):
        """Drop what is left of a table's keys, or of all: rows may have taken them."""
        if table is None:
            self._left.clear()
        else:
            self._left.pop(table, None)


class ReservingInsert:
    """Part of the compiler of INSERT: in a block new rows get reserved keys."""

    def _execute_in_block(self, returning_fields):
        meta = self.query.get_meta()
        key = meta.auto_field
        keys = self.connection.connection.reserved_keys
        if key is None:
            return super().execute_sql(returning_fields)
        if any(getattr(instance, key.attname) is not None for instance in self.query.objs):
            # Perhaps one of those that are left.
            keys.forget(meta.db_table)
        if not self._may_reserve(key, returning_fields):
            return super().execute_sql(returning_fields)
        try:
            return self._with_keys(key, returning_fields, keys)
        except IntegrityError as error:
            if f"{meta.db_table}.{key.column}" not in str(error):
                raise
        # Somebody has written a row with a key of the range by hand.
        keys.forget(meta.db_table)
        return self._with_keys(key, returning_fields, keys)

    def _may_reserve(self, key, returning_fields):
        if not isinstance(key, AutoField | AutoFieldMixin) or self.query.on_conflict is not None:
            return False
        is_told = bool(returning_fields) and key in returning_fields
        return is_told and key not in self.query.fields and not self.query.raw

    def _with_keys(self, key, returning_fields, keys):
        objects, fields = self.query.objs, self.query.fields
        try:
            taken = keys.take(self.query.get_meta().db_table, len(objects))
        except OperationalError:
            # The table was made in this block, so nobody else inserts into it.
            return super().execute_sql(returning_fields)
        others = [field for field in returning_fields if field is not key]
        for instance, value in zip(objects, taken, strict=True):
            setattr(instance, key.attname, value)
        self.query.fields = [key, *fields]
        try:
            rows = super().execute_sql(others)
        finally:
            self.query.fields = fields
            self.returning_fields = returning_fields
            # Django gives an object its key once its row is written.
            for instance in objects:
                setattr(instance, key.attname, None)
        rows = iter(rows) if others else None
        return [self._row(key, value, returning_fields, next(rows) if others else ()) for value in taken]

    @staticmethod
    def _row(key, value, returning_fields, row):
        rest = iter(row)
        return tuple(value if field is key else next(rest) for field in returning_fields)
