"""Write SQL and read values as this runtime needs it.

Only what differs from the local sqlite3 module is here.
"""

from collections.abc import Mapping
from contextlib import contextmanager

from django.db import DatabaseError
from django.db.backends.sqlite3 import operations as sqlite3_operations
from django.utils.functional import cached_property

from do_bridge.django_compat import DECIMALS_FROM_TEXT, ReturningColumns
from do_bridge.driver import limits
from do_bridge.driver.internal import UNREADABLE, outside
from do_bridge.driver.sql import fill

from . import reading, rebuild
from .functions import datetimes as dates
from .queries.keyed_updates import goes_as_json
from .reading import INTEGER_TYPES
from .snapshot import GUARDS, guarded_tables, without_guards
from .statements import send

# The part of a statement for bulk_update's WHENs, and the size of one without its names.
SQL_BYTES = limits.SQL_BYTES * 8 // 10
WHEN_BYTES = 75
# Longer values (in characters) have a parameter of their own. A statement has this many of those.
LONG_VALUE, LONG_VALUES = 2000, 40
NUMBER_TYPES = INTEGER_TYPES | {"FloatField", "DecimalField"}


def quote_value(value):
    """Return the SQLite literal for a parameter.

    It is only for the debug log; never execute it.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"X'{bytes(value).hex().upper()}'"
    return "'" + str(value).replace("'", "''") + "'"


class DatabaseOperations(ReturningColumns, sqlite3_operations.DatabaseOperations):
    """sqlite3's operations without the functions that Django registers from Python."""

    compiler_module = "do_bridge.backends.remote_sqlite.compiler"
    # Set while an aggregate or a window function is compiled: those cannot be moved into a subquery.
    inline_zones = False

    def bulk_batch_size(self, fields, objs):
        """Return the number of objects for one call, usually all of them.

        The compiler splits an INSERT by its bytes. Only `bulk_update`, recognized because it names the key
        twice, writes a WHEN for each object and field if expressions are among the values.
        """
        if len(fields) > 2 and fields[0] == fields[1] and objs and not goes_as_json(fields[2:], objs):
            return min(self._most_whens(fields, objs), self._most_long_values(fields[2:], objs))
        return max(len(objs), 1)

    @staticmethod
    def _most_whens(fields, objs):
        meta = objs[0]._meta
        when = sum(WHEN_BYTES + len(meta.db_table) + len(field.column) for field in meta.pk_fields)
        return max(SQL_BYTES // (when * (len(fields) - 2)), 1)

    @staticmethod
    def _most_long_values(fields, objs):
        """Return the number of objects whose long values fit into one statement.

        Each long value has a parameter of its own.
        """
        kinds = str | bytes | bytearray | memoryview
        values = (vars(obj).get(field.attname) for obj in objs for field in fields)
        if any(isinstance(value, kinds) and len(value) > LONG_VALUE for value in values):
            return max(LONG_VALUES // len(fields), 1)
        return len(objs)

    def bulk_insert_sql(self, fields, placeholder_rows):
        """Return the placeholder that the insert compiler replaces with the rows.

        It has split the rows already.
        """
        return placeholder_rows.placeholder

    def last_executed_query(self, cursor, sql, params):
        """Return the statement with literals in place of its parameters.

        sqlite3 makes a query for that; this does not.
        """
        if not params:
            return sql
        if isinstance(params, Mapping):
            return fill(sql, {name: quote_value(value) for name, value in params.items()})
        return fill(sql, [quote_value(value) for value in params])

    # Dates and times: SQLite's own functions, see functions_datetime.

    @contextmanager
    def zones_inline(self, inline):
        """While active, and if `inline`, time zones are computed without a subquery."""
        before, self.inline_zones = self.inline_zones, inline or self.inline_zones
        try:
            yield
        finally:
            self.inline_zones = before

    def _local(self, sql, params, tzname):
        wanted, stored = self._convert_tznames_to_sql(tzname)
        return dates.to_zone((sql, params), wanted, stored, inline=self.inline_zones)

    def date_extract_sql(self, lookup_type, sql, params):
        return dates.extract(lookup_type, (sql, params))

    def datetime_extract_sql(self, lookup_type, sql, params, tzname):
        return dates.extract(lookup_type, self._local(sql, params, tzname))

    def time_extract_sql(self, lookup_type, sql, params):
        return dates.time_extract(lookup_type, (sql, params))

    def date_trunc_sql(self, lookup_type, sql, params, tzname=None):
        return dates.date_trunc(lookup_type, self._local(sql, params, tzname))

    def datetime_trunc_sql(self, lookup_type, sql, params, tzname):
        return dates.datetime_trunc(lookup_type, self._local(sql, params, tzname))

    def time_trunc_sql(self, lookup_type, sql, params, tzname=None):
        return dates.time_trunc(lookup_type, self._local(sql, params, tzname))

    def datetime_cast_date_sql(self, sql, params, tzname):
        return dates.cast_date(self._local(sql, params, tzname))

    def datetime_cast_time_sql(self, sql, params, tzname):
        return dates.cast_time(self._local(sql, params, tzname))

    def subtract_temporals(self, internal_type, lhs, rhs):
        return dates.subtract(lhs, rhs)

    def combine_duration_expression(self, connector, sub_expressions):
        """Return integer arithmetic on microseconds.

        A date or datetime on one side is handled elsewhere.
        """
        if connector not in ["+", "-", "*", "/"]:
            raise DatabaseError(f"Invalid connector for timedelta: {connector}.")
        if connector == "/":
            # Python divides durations exactly, SQLite would truncate an integer quotient.
            sub_expressions = [f"CAST({sub_expressions[0]} AS REAL)", *sub_expressions[1:]]
        return self.combine_expression(connector, sub_expressions)

    def combine_expression(self, connector, sub_expressions):
        if connector == "^":
            return f"POW({','.join(sub_expressions)})"
        return super().combine_expression(connector, sub_expressions)

    # Values.

    def get_db_converters(self, expression):
        converters = super().get_db_converters(expression)
        if expression.output_field.get_internal_type() == "FloatField":
            converters.append(self.convert_floatfield_value)
        return converters

    def convert_datetimefield_value(self, value, expression, connection):
        if value is not None:
            value = reading.read_datetime(value)
        # Text that is not a datetime reads as None, as with sqlite3's own converter.
        return super().convert_datetimefield_value(value, expression, connection)

    def convert_datefield_value(self, value, expression, connection):
        return None if value is None else reading.read_date(value)

    def convert_timefield_value(self, value, expression, connection):
        return None if value is None else reading.read_time(value)

    def convert_booleanfield_value(self, value, expression, connection):
        return None if value is None else reading.read_bool(value, expression)

    def convert_floatfield_value(self, value, expression, connection):
        # JSON writes a whole REAL without its point.
        return float(value) if type(value) is int else value

    def get_decimalfield_converter(self, expression):
        convert = super().get_decimalfield_converter(expression)

        def converter(value, expression, connection):
            if isinstance(value, str) and not DECIMALS_FROM_TEXT:
                value = float(value)
            return convert(value, expression, connection)

        return converter

    def returning_columns(self, fields):
        """Return a RETURNING clause whose numbers are exact.

        JSON would round an integer beyond 2^53.
        """
        if not fields:
            return "", ()
        return "RETURNING " + ", ".join(map(self._returned_column, fields)), ()

    def _returned_column(self, field):
        column = f"{self.quote_name(field.model._meta.db_table)}.{self.quote_name(field.column)}"
        if not self.returned_as_text(field):
            return column
        text = f"CAST({column} AS TEXT)"
        if self._stored_type(field) in INTEGER_TYPES:
            return text
        # 17 digits distinguish every double from its neighbours.
        return f"iif(typeof({column}) = 'real', printf('%%!.17g', {column}), {text})"

    # Statements.

    def execute_sql_flush(self, sql_list):
        """Empty tables in one atomic batch.

        It fails if rows elsewhere would then reference missing rows.
        """
        if not sql_list:
            return
        guarded = set(map(self.quote_name, guarded_tables))
        # First, while the rows that a guard checks are there.
        ordered = sorted(sql_list, key=lambda sql: guarded.isdisjoint(sql.rstrip(";").split()))
        is_guarded = not guarded.isdisjoint(ordered[0].rstrip(";").split())
        statements = [
            (rebuild.DEFER_FOREIGN_KEYS, None),
            *((sql, None) for sql in ordered),
            (rebuild.refuse_dangling_rows(), None),
        ]
        if is_guarded and self.connection.creation.is_test_database():
            (guards,) = send(self.connection, [(GUARDS, None)])
            statements = without_guards(self.connection, statements, guards.rows)
        with rebuild.guarded():
            send(self.connection, statements)

    def force_group_by(self):
        return []

    @cached_property
    def _references_graph(self):
        return self._referencing_tables

    def _referencing_tables(self, table_name):
        """Return the table and all that reference it, in one statement.

        References through other tables count.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                "WITH RECURSIVE tables(name) AS (SELECT %s UNION SELECT m.name FROM tables "  # noqa: S608
                f"JOIN sqlite_master m ON m.type = 'table' AND {outside(UNREADABLE, 'm.name')} "
                "JOIN pragma_foreign_key_list(m.name) fk "
                'ON lower(fk."table") = lower(tables.name)) SELECT name FROM tables',
                [table_name],
            )
            return [row[0] for row in cursor.fetchall()]

    def returned_as_text(self, field):
        """Return whether RETURNING gives this field's number as text.

        The insert compiler converts it back.
        """
        return self._stored_type(field) in NUMBER_TYPES

    @staticmethod
    def _stored_type(field):
        if field.generated:
            field = field.output_field
        while field.remote_field and field.is_relation:
            field = field.target_field
        return field.get_internal_type()
