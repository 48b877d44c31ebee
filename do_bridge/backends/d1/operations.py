"""The dialect's operations for D1, with compilers for batches."""

from do_bridge.backends.remote_sqlite import operations

from .infinities import number


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "do_bridge.backends.d1.compiler"

    def _returned_column(self, field):
        driver_connection = self.connection.connection
        if driver_connection is not None and driver_connection.in_transaction:
            # A speculated answer is exact as it is, and a plain column's value can be kept for the commit.
            return f"{self.quote_name(field.model._meta.db_table)}.{self.quote_name(field.column)}"
        return super()._returned_column(field)

    def convert_floatfield_value(self, value, expression, connection):
        return super().convert_floatfield_value(number(value), expression, connection)

    def get_decimalfield_converter(self, expression):
        convert = super().get_decimalfield_converter(expression)

        def converter(value, expression, connection):
            return convert(number(value), expression, connection)

        return converter
