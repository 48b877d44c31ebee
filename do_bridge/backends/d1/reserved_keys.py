"""Take primary keys for a block's new rows from reserved ranges.

So inserts do not conflict.
"""

from collections import defaultdict
from itertools import cycle

from django.db import IntegrityError, OperationalError
from django.db.models import AutoField
from django.db.models.fields import AutoFieldMixin

LARGEST_RANGE = 32


class ReservedKeys:
    """The reserved keys of one connection that no row has yet.

    Keys that a block leaves are used by later blocks.
    """

    def __init__(self, connection):
        self._connection = connection
        self._left = {}
        self._next_size = defaultdict(lambda: 1)
        # The largest keys that the connection's own blocks have written by hand.
        self._written = {}

    def take(self, table, count):
        """Return keys for new rows.

        If too few are left, a round trip of its own reserves more.
        """
        left = self._left.setdefault(table, [])
        missing = count - len(left)
        if missing > 0:
            size = self._next_size[table]
            above = self._written.get(table, 0)
            left += self._connection.reserve_keys(table, max(missing, size), above)
            self._next_size[table] = min(2 * size, LARGEST_RANGE)
        taken, left[:count] = left[:count], []
        return taken

    def forget(self, table=None):
        """Drop what is left of a table's keys, or of all: rows may have taken them."""
        if table is None:
            self._left.clear()
            self._written.clear()
        else:
            self._left.pop(table, None)

    def note_written(self, table, keys):
        """Keep new keys away from those that are written by hand."""
        self.forget(table)
        numbers = [key for key in keys if isinstance(key, int)]
        self._written[table] = max([self._written.get(table, 0), *numbers])


class ReservingInsert:
    """Part of the compiler of INSERT: in a block new rows get reserved keys."""

    # An iterator over the new rows' keys, while they are written.
    _keys = None

    def pre_save_val(self, field, obj):
        if self._keys is not None and field is self.query.get_meta().auto_field:
            return next(self._keys)
        return super().pre_save_val(field, obj)

    def _execute_in_block(self, returning_fields):
        meta = self.query.get_meta()
        key = meta.auto_field
        keys = self.connection.connection.reserved_keys
        if key is None:
            return super().execute_sql(returning_fields)
        written = [getattr(instance, key.attname) for instance in self.query.objs]
        if any(value is not None for value in written):
            keys.note_written(meta.db_table, map(key.get_prep_value, written))
        if not self._may_reserve(key, returning_fields):
            return super().execute_sql(returning_fields)
        try:
            return self._with_keys(key, returning_fields, keys)
        except IntegrityError as error:
            if f"{meta.db_table}.{key.column}" not in str(error):
                raise
        # A row with a key of the range was written by hand.
        keys.forget(meta.db_table)
        return self._with_keys(key, returning_fields, keys)

    def _may_reserve(self, key, returning_fields):
        if not isinstance(key, AutoField | AutoFieldMixin) or self.query.on_conflict is not None:
            return False
        if self.connection.connection.has_counted(self.query.get_meta().db_table):
            # The reservation would take the counter past a key that the block has seen already.
            return False
        is_told = bool(returning_fields) and key in returning_fields
        return is_told and key not in self.query.fields and not self.query.raw

    def _with_keys(self, key, returning_fields, keys):
        fields = self.query.fields
        try:
            taken = keys.take(self.query.get_meta().db_table, len(self.query.objs))
        except OperationalError:
            # The table was made in this block, so no other block inserts into it.
            return super().execute_sql(returning_fields)
        others = [field for field in returning_fields if field is not key]
        self.query.fields = [key, *fields]
        # The objects get their keys once their rows are written: until then Django takes them for unsaved.
        self._keys = cycle(taken)
        try:
            rows = super().execute_sql(others)
        finally:
            self.query.fields = fields
            self.returning_fields = returning_fields
            self._keys = None
        rows = rows if others else [()] * len(taken)
        read = self._as_read(key, taken)
        return [self._row(key, value, returning_fields, row) for value, row in zip(read, rows, strict=True)]

    def _as_read(self, key, values):
        """Return keys as the field's converters return those from the database."""
        converters = self.get_converters([key.get_col(self.query.get_meta().db_table)])
        if not converters:
            return values
        return [value for (value,) in self.apply_converters([[value] for value in values], converters)]

    @staticmethod
    def _row(key, value, returning_fields, row):
        rest = iter(row)
        return tuple(value if field is key else next(rest) for field in returning_fields)
