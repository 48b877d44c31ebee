"""The differences between the series of Django that this package supports.

An unknown series is refused here.
"""

import django
from django.core.exceptions import ImproperlyConfigured

from .version import __version__

#: The series whose own test suite runs on both engines; the newest is last.
SERIES = ((5, 2), (6, 0), (6, 1))
INSTALLED = django.VERSION[:2]


def require_known(version=INSTALLED):
    """Raise ImproperlyConfigured for an unsupported series, a pair like (6, 1)."""
    if version in SERIES:
        return
    names = [".".join(map(str, series)) for series in SERIES]
    upgrade = "Upgrade do_bridge, or run" if version > SERIES[-1] else "Run"
    raise ImproperlyConfigured(
        f"do_bridge {__version__} supports Django {', '.join(names[:-1])} and {names[-1]}, and the installed "
        f"Django {'.'.join(map(str, version))} is not one of them. The engines subclass parts of Django that "
        f'change with each series. {upgrade} pip install "django~={names[-1]}.0".'
    )


require_known()

#: DatabaseCreation.create_test_db() may be told to serialize the rows; passing it is deprecated since.
CREATION_SERIALIZES = INSTALLED < (6, 0)
#: A foreign key may have DB_CASCADE and its like, which become ON DELETE clauses.
HAS_DB_ON_DELETE = INSTALLED >= (6, 1)
#: The converter of a DecimalField reads a text as it is, beyond the 15 digits of a float.
DECIMALS_FROM_TEXT = INSTALLED >= (6, 1)
#: What receivers of m2m_changed get, beside the rest, while a fixture is loaded.
RAW_LINKS = {"raw": True} if INSTALLED >= (6, 1) else {}

#: The packages of the framework for background tasks, and of its function normalize_json().
TASKS, TASKS_JSON = (
    ("django.tasks", "django.utils.json") if INSTALLED >= (6, 0) else ("django_tasks", "django_tasks.utils")
)

#: The clause of a foreign key's column, as the schema editor's templates have it.
INLINE_FOREIGN_KEY = "REFERENCES %(to_table)s (%(to_column)s)" + "%(on_delete_db)s" * HAS_DB_ON_DELETE

# (the first series that has it, the first that has not, a test of Django's own suite of sqlite3's limits).
_LIMITS = (
    ((5, 2), (6, 1), "test_operations.SQLiteOperationsTests.test_bulk_batch_size"),
    ((6, 0), None, "test_operations.SQLiteOperationsTests.test_bulk_batch_size_respects_variable_limit"),
    ((6, 0), None, "test_features.FeaturesTests.test_max_query_params_respects_variable_limit"),
    ((6, 0), None, "test_features.FeaturesTests.test_max_query_params_without_established_connection"),
    ((6, 1), None, "tests.LastExecutedQueryTest.test_parameter_count_exceeds_variable_or_column_limit"),
)
#: Those of them that the installed series has: to skip a test that is missing is an error in Django's suite.
SUITE_LIMITS = {
    f"backends.sqlite.{test}"
    for first, gone, test in _LIMITS
    if first <= INSTALLED and (gone is None or gone > INSTALLED)
}
#: Tests that look for ON DELETE in what a schema editor runs, before its block has ended.
SUITE_ON_DELETE = (
    {
        "schema.tests.SchemaTests.test_fk_alter_on_delete",
        "schema.tests.SchemaTests.test_fk_alter_on_delete_db_level",
        "schema.tests.SchemaTests.test_inline_fk_db_on_delete",
    }
    if HAS_DB_ON_DELETE
    else set()
)


class ReturningColumns:
    """Part of a backend's operations.

    It has the name by which Django 5.2 calls `returning_columns()`.
    """

    def return_insert_columns(self, fields):
        return self.returning_columns(fields)


def copy_fetch_mode(source, target):
    """Let a queryset fetch what is missing in its rows as another one does."""
    if INSTALLED >= (6, 1):
        target._fetch_mode = source._fetch_mode


def has_placeholder(field):
    """Whether a model's field wraps its values in SQL of its own."""
    return hasattr(field, "get_placeholder_sql") or hasattr(field, "get_placeholder")


def quote_name(compiler, name):
    """Return the quoted name of a table or a column in a query."""
    return compiler.quote_name(name) if INSTALLED >= (6, 1) else compiler.quote_name_unless_alias(name)


def relation(introspection, column, table, on_delete):
    """Return the value that get_relations() has for a key to `column` of `table`.

    `on_delete` is the clause in SQL.
    """
    if HAS_DB_ON_DELETE:
        return column, table, introspection.on_delete_types.get(on_delete)
    return column, table


def has_on_delete_clause(field):
    """Return whether a relation's field has an ON DELETE clause.

    Then the database changes its rows by itself.
    """
    return hasattr(field.remote_field.on_delete, "on_delete_sql")


def filter_condition(aggregate):
    """Return the condition of an aggregate's FILTER clause, or None."""
    condition = aggregate.filter
    return getattr(condition, "condition", condition) if INSTALLED >= (6, 0) else condition


def existing(module, *names):
    """Return those of a module's names that the installed Django has."""
    return [getattr(module, name) for name in names if hasattr(module, name)]


def receivers(signal):
    """Return the receivers of a signal, of which some may be weak references."""
    return [entry[1] for entry in signal.receivers]


def without_serialization(**options):
    """Return the keyword arguments of create_test_db() without serialization."""
    return {**options, "serialize": False} if CREATION_SERIALIZES else options
