"""What this runtime's SQLite supports, as Django's feature flags."""

from django.db.backends.sqlite3 import features as sqlite3_features
from django.utils.functional import cached_property

from do_bridge import django_compat

# workerd 1.20261117 embeds this release; the runtime refuses `sqlite_version()`.
SQLITE_VERSION = (3, 54, 1)


class DatabaseFeatures(sqlite3_features.DatabaseFeatures):
    """sqlite3's feature flags, with those that differ on this runtime.

    Flags that must not be read from the local sqlite3 module are set here, too.
    """

    # All parameters of a statement travel as one JSON text: the runtime's limit of 100 never applies.
    max_query_params = None
    # The database is elsewhere; any number of threads and processes may connect.
    test_db_allows_multiple_connections = True
    # A deferred key that is violated at commit resets the whole object, so keys are immediate.
    can_defer_constraint_checks = False
    # Whether one transaction can hold a whole TestCase class.
    holds_test_classes = True
    # Each engine clones by migrating another database; files cannot be copied.
    can_clone_databases = False
    # https://www.sqlite.org/releaselog/3_35_5.html
    can_alter_table_drop_column = True
    # https://www.sqlite.org/lang_returning.html
    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True
    can_return_rows_from_update = True
    # https://www.sqlite.org/lang_aggfunc.html: ORDER BY in an aggregate came with 3.44.
    supports_aggregate_order_by_clause = True
    # Aggregates and functions that sqlite3 computes in Python, and functions.newer in SQL.
    supports_any_value = True
    supports_bit_aggregations = True
    supports_uuid4_function = True
    supports_uuid4_function_in_default = True
    supports_uuid7_function = True
    # The JSON functions are compiled in; sqlite3 runs a query to find out, which would be a round trip.
    supports_json_field = True
    can_introspect_json_field = True
    has_json_object_function = True
    # Python functions cannot be registered at the other end.
    supports_regex_backreferencing = False
    # Row values are compared with rows taken from one JSON parameter.
    supports_tuple_lookups = True
    # Compound SELECT takes at most five terms; the compiler nests longer ones.
    supports_parentheses_in_compound = False

    @cached_property
    def django_test_skips(self):
        """Reason -> tests of Django's own suite that cannot pass for that reason."""
        return {
            "SQLite stores values rounded to 15 significant digits.": {
                "model_fields.test_decimalfield.DecimalFieldTests.test_fetch_from_db_without_float_rounding",
            },
            "SQLite naively remakes the table on field alteration.": {
                "schema.tests.SchemaTests.test_unique_no_unnecessary_fk_drops",
                "schema.tests.SchemaTests.test_unique_and_reverse_m2m",
                "schema.tests.SchemaTests.test_alter_field_default_doesnt_perform_queries",
                "schema.tests.SchemaTests.test_rename_column_renames_deferred_sql_references",
            },
            "SQLite doesn't support negative precision for ROUND().": {
                "db_functions.math.test_round.RoundTests.test_null_with_negative_precision",
                "db_functions.math.test_round.RoundTests.test_decimal_with_negative_precision",
                "db_functions.math.test_round.RoundTests.test_float_with_negative_precision",
                "db_functions.math.test_round.RoundTests.test_integer_with_negative_precision",
            },
            "The actual query cannot be determined: parameters travel apart from it.": {
                "backends.base.test_base.ExecuteWrapperTests.test_wrapper_debug",
            },
            "The runtime's SQLite has no regular expressions, and functions cannot be added to it.": {
                "lookup.tests.LookupTests.test_regex",
                "lookup.tests.LookupTests.test_regex_non_ascii",
                "lookup.tests.LookupTests.test_regex_non_string",
                "lookup.tests.LookupTests.test_regex_null",
                "model_fields.test_jsonfield.TestQuerying.test_key_iregex",
                "model_fields.test_jsonfield.TestQuerying.test_key_regex",
                "backends.sqlite.tests.Tests.test_regexp_function",
            },
            "The runtime's SQLite has no digests, and functions cannot be added to it.": {
                "db_functions.text.test_md5.MD5Tests.test_basic",
                "db_functions.text.test_md5.MD5Tests.test_transform",
                "db_functions.text.test_sha1.SHA1Tests.test_basic",
                "db_functions.text.test_sha1.SHA1Tests.test_transform",
                "db_functions.text.test_sha224.SHA224Tests.test_basic",
                "db_functions.text.test_sha224.SHA224Tests.test_transform",
                "db_functions.text.test_sha256.SHA256Tests.test_basic",
                "db_functions.text.test_sha256.SHA256Tests.test_transform",
                "db_functions.text.test_sha384.SHA384Tests.test_basic",
                "db_functions.text.test_sha384.SHA384Tests.test_transform",
                "db_functions.text.test_sha512.SHA512Tests.test_basic",
                "db_functions.text.test_sha512.SHA512Tests.test_transform",
            },
            "RETURNING brings integers as text, because JSON would round those beyond 2^53.": {
                "queries.test_db_returning.ReturningValuesTests.test_insert_returning",
                "queries.test_db_returning.ReturningValuesTests.test_insert_returning_multiple",
            },
            "A result has no column types, so raw SQL reads a datetime as the stored text.": {
                "timezones.tests.LegacyDatabaseTests.test_cursor_execute_returns_naive_datetime",
                "timezones.tests.NewDatabaseTests.test_cursor_execute_returns_naive_datetime",
                "schema.tests.SchemaTests.test_add_datefield_and_datetimefield_use_effective_default",
            },
            "The test searches the SQL for EXTRACT, but here strftime() gives the year.": {
                "db_functions.datetime.test_extract_trunc.DateFunctionTests.test_extract_year_exact_lookup",
                "db_functions.datetime.test_extract_trunc.DateFunctionTests."
                "test_extract_year_greaterthan_lookup",
                "db_functions.datetime.test_extract_trunc.DateFunctionTests."
                "test_extract_year_lessthan_lookup",
                "db_functions.datetime.test_extract_trunc.DateFunctionWithTimeZoneTests."
                "test_extract_year_exact_lookup",
                "db_functions.datetime.test_extract_trunc.DateFunctionWithTimeZoneTests."
                "test_extract_year_greaterthan_lookup",
                "db_functions.datetime.test_extract_trunc.DateFunctionWithTimeZoneTests."
                "test_extract_year_lessthan_lookup",
            },
            "The test counts statements, and here one statement deletes any number of rows.": {
                "delete.tests.DeletionTests.test_bulk",
                "delete.tests.DeletionTests.test_large_delete",
                "delete.tests.DeletionTests.test_large_delete_related",
            },
            "The test is about the limits of the sqlite3 module, which do not apply here.": (
                django_compat.SUITE_LIMITS
            ),
            "The test is about the sqlite3 module's files, names, options and versions.": {
                "backends.sqlite.test_creation.TestDbSignatureTests.test_custom_test_name",
                "backends.sqlite.test_creation.TestDbSignatureTests.test_get_test_db_clone_settings_name",
                "backends.sqlite.test_creation.TestDbSignatureTests."
                "test_get_test_db_clone_settings_not_supported",
                "backends.sqlite.test_features.FeaturesTests.test_supports_json_field_operational_error",
                "backends.sqlite.tests.Tests.test_check_database_version_supported",
                "backends.sqlite.tests.TestTransactionMode.test_invalid_transaction_mode",
                "backends.sqlite.tests.TestTransactionMode.test_valid_transaction_modes",
            },
            "Foreign keys are never switched off, because an object would keep that for later requests.": {
                "backends.sqlite.tests.SchemaTests.test_constraint_checks_disabled_atomic_allowed",
                "backends.sqlite.tests.SchemaTests.test_disable_constraint_checking_failure_disallowed",
            },
        }
