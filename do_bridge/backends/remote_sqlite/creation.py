"""Test databases, made and emptied remotely, and never the configured ones."""

from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.sqlite3 import creation as sqlite3_creation
from django.db.transaction import atomic

from do_bridge.driver.internal import NOT_RUNTIME, UNREADABLE, outside

from . import rebuild
from .emptying import empty

# Names of the test databases that this process made. No other database is reached while tests run.
_test_names = set()
#: By key of a test database that was made here: what do_bridge.testing has read of its rows.
known_rows = {}
# Those that take a configured one's place at present.
_in_place = set()

TABLES = f"SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND {NOT_RUNTIME}"  # noqa: S608
SCHEMA = (
    f"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND {NOT_RUNTIME} "  # noqa: S608
    f"AND {outside(UNREADABLE, 'tbl_name')} ORDER BY type != 'table', rowid"
)


def test_names():
    """Return the names that this process made test databases of."""
    return frozenset(_test_names)


class DatabaseCreation(sqlite3_creation.DatabaseCreation):
    """The creation of test databases.

    Engines name them in `_get_test_db_name` and `get_test_db_clone_settings`.
    """

    @staticmethod
    def is_in_memory_db(database_name):
        return False

    def is_test_database(self):
        """Whether the alias leads to a database that this process made for tests."""
        return self.connection.settings_dict["NAME"] in _test_names

    @staticmethod
    def are_tests_on():
        """Return whether a test database has replaced a configured one.

        That is so in `manage.py testserver`, too.
        """
        return bool(_in_place)

    def mark_as_test_database(self, name):
        """Allow connections to `name` while tests run.

        Raises ImproperlyConfigured if it is the configured database.
        """
        if name == self.connection.settings_dict["NAME"] and name not in _test_names:
            raise ImproperlyConfigured(
                f"The test database of {self.connection.alias!r} is the configured one, which "
                "tests would empty. Set TEST['NAME'] to another database."
            )
        _test_names.add(name)

    def connect_to(self, name):
        """Return a wrapper of its own for the test database `name`; close it after use."""
        settings_dict = {**self.connection.settings_dict, "NAME": name}
        return self.connection.__class__(settings_dict, alias=self.connection.alias)

    def empty(self, name):
        """Drop everything in the test database `name`, in one atomic batch."""
        wrapper = self.connect_to(name)
        try:
            wrapper.ensure_connection()
            with wrapper.wrap_database_errors:
                empty(wrapper.connection)
        finally:
            wrapper.close()

    def copy(self, source, target):
        """Copy schema and rows of one test database into another, which is empty."""
        reader, writer = self.connect_to(source), self.connect_to(target)
        try:
            with reader.cursor() as cursor:
                cursor.execute(SCHEMA)
                statements = [(sql, None) for (sql,) in cursor.fetchall()]
                cursor.execute(TABLES)
                tables = [name for name, kind in cursor.fetchall() if kind == "table"]
                quote = reader.ops.quote_name
                statements.append(("PRAGMA defer_foreign_keys = on", None))
                for table in tables:
                    cursor.execute(f"SELECT * FROM {quote(table)}")  # noqa: S608
                    columns = ", ".join(quote(column[0]) for column in cursor.description)
                    marks = ", ".join(["%s"] * len(cursor.description))
                    insert = f"INSERT INTO {quote(table)} ({columns}) VALUES ({marks})"  # noqa: S608
                    statements.extend((insert, row) for row in cursor.fetchall())
            writer.ensure_connection()
            with writer.wrap_database_errors:
                writer.connection.execute_batch(statements)
        finally:
            reader.close()
            writer.close()

    def create_test_db(self, *args, **kwargs):
        _in_place.add(self._get_test_db_name())
        name = super().create_test_db(*args, **kwargs)
        self.forget_rows()
        return name

    def destroy_test_db(self, *args, **kwargs):
        name = self.connection.settings_dict["NAME"]
        super().destroy_test_db(*args, **kwargs)
        if self.connection.settings_dict["NAME"] != name:
            _in_place.discard(name)

    def key(self):
        """Return what distinguishes the alias's database from the others of its engine."""
        return self.connection.settings_dict["NAME"]

    def was_made_here(self):
        """Return whether the alias's database is a test database made for this alias."""
        return self.key() in known_rows

    def forget_rows(self):
        """Record that the test database is new.

        Its rows are read when a test case needs to restore them.
        """
        known_rows[self.key()] = {}

    def deserialize_db_from_string(self, data):
        """Write serialized rows to this alias, all or none.

        Routers decide only the place of many-to-many rows.
        """
        alias = self.connection.alias
        objects = serializers.deserialize("json", data, using=alias)
        unit = self.connection.batch() if hasattr(self.connection, "batch") else atomic(using=alias)
        with unit, self.connection.cursor() as cursor:
            # The rows are in no order, so foreign keys are checked when the unit ends.
            cursor.execute(rebuild.DEFER_FOREIGN_KEYS)
            for row in objects:
                model = type(row.object)
                model._base_manager.using(alias).filter(pk=row.object.pk)._raw_delete(alias)
                row.save(using=alias, force_insert=True)

    def _create_test_db(self, verbosity, autoclobber, keepdb=False):
        name = self._get_test_db_name()
        self.mark_as_test_database(name)
        if not keepdb:
            self.empty(name)
        return name

    def _clone_test_db(self, suffix, verbosity, keepdb=False):
        source = self.connection.settings_dict["NAME"]
        target = self.get_test_db_clone_settings(suffix)["NAME"]
        self.mark_as_test_database(target)
        if not keepdb:
            self.empty(target)
            self.copy(source, target)

    def _destroy_test_db(self, test_database_name, verbosity):
        self.mark_as_test_database(test_database_name)
        self.empty(test_database_name)

    def test_db_signature(self):
        return BaseDatabaseCreation.test_db_signature(self)

    def setup_worker_connection(self, _worker_id):
        settings_dict = self.get_test_db_clone_settings(str(_worker_id))
        self.mark_as_test_database(settings_dict["NAME"])
        self.connection.settings_dict.update(settings_dict)
        self.connection.close()
        self.forget_rows()
