"""The dialect's operations for D1, with compilers for batches."""

from do_bridge.backends.remote_sqlite import operations

from .infinities import number


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "do_bridge.backends.d1.compiler"

    def convert_floatfield_value(self, value, expression, connection):
        return super().convert_floatfield_value(number(value), expression, connection)

    def get_decimalfield_converter(self, expression):
        convert = super().get_decimalfield_converter(expression)

        def converter(value, expression, connection):
            return convert(number(value), expression, connection)

        return converter
