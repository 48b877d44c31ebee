"""Test databases on D1: others than the configured ones, which must exist and are emptied, never created."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from do_bridge import driver
from do_bridge.backends.remote_sqlite import creation

from .emptying import empty

ENGINE = "do_bridge.backends.d1"


class DatabaseCreation(creation.DatabaseCreation):
    """Uses TEST["NAME"], the id of another database; TEST["CLONES"] lists one more for each parallel process."""

    # Lower-case ids that create_test_db() has taken into use in this process: for all threads' connections.
    _in_use = set()

    def is_test_database(self):
        """Whether the alias has been switched to a test database."""
        return self.connection.settings_dict["NAME"].lower() in self._in_use

    def test_db_signature(self):
        return (self.connection.settings_dict["HOST"], self._get_test_db_name().lower())

    def _get_test_db_name(self):
        return self._other_than_configured(self.connection.settings_dict["TEST"].get("NAME"), "NAME")

    def _other_than_configured(self, database_id, setting):
        """Return the id; raise ImproperlyConfigured where it is missing, or that of a configured database."""
        where = f"DATABASES[{self.connection.alias!r}]['TEST'][{setting!r}]"
        if not database_id:
            raise ImproperlyConfigured(
                f"{where} is not set. Tests empty their database, so give the id of a D1 database that holds "
                "nothing else."
            )
        if database_id.lower() in self._configured():
            raise ImproperlyConfigured(
                f"{where} is the id of a configured database. Tests would empty it: give another database's."
            )
        return database_id

    def _configured(self):
        """Return the lower-case ids of all D1 aliases that are not test databases already."""
        aliases = [self.connection.settings_dict]
        aliases += [settings.DATABASES[alias] for alias in settings.DATABASES]
        names = {str(alias.get("NAME") or "").lower() for alias in aliases if alias.get("ENGINE") == ENGINE}
        return names - self._in_use

    def _create_test_db(self, verbosity, autoclobber, keepdb=False):
        name = self._get_test_db_name()
        if not keepdb:
            self._empty(name)
        self._in_use.add(name.lower())
        return name

    def _destroy_test_db(self, test_database_name, verbosity):
        # The id of a database that was never taken into use is not a test's to empty.
        if test_database_name.lower() in self._in_use:
            self._empty(test_database_name)
            self._in_use.discard(test_database_name.lower())

    def get_test_db_clone_settings(self, suffix):
        clones = self.connection.settings_dict["TEST"].get("CLONES") or []
        position = int(suffix) - 1
        if position >= len(clones):
            raise ImproperlyConfigured(
                f"Parallel tests need a D1 database for each process: DATABASES[{self.connection.alias!r}]['TEST']"
                f"['CLONES'] lists {len(clones)}, this is process {suffix}. Add ids, or run fewer processes."
            )
        name = self._other_than_configured(clones[position], "CLONES")
        return {**self.connection.settings_dict, "NAME": name}

    def _clone_test_db(self, suffix, verbosity, keepdb=False):
        """Migrate another database: D1 has no command that copies one."""
        name = self.get_test_db_clone_settings(suffix)["NAME"]
        if not keepdb:
            self._empty(name)
        self._in_use.add(name.lower())
        settings_dict = self.connection.settings_dict
        source = settings_dict["NAME"]
        self.connection.close()
        settings_dict["NAME"] = name
        try:
            alias = self.connection.alias
            call_command("migrate", verbosity=0, interactive=False, database=alias, run_syncdb=True)
        finally:
            self.connection.close()
            settings_dict["NAME"] = source

    def setup_worker_connection(self, _worker_id):
        super().setup_worker_connection(_worker_id)
        # A spawned process did not see the clone being made.
        self._in_use.add(self.connection.settings_dict["NAME"].lower())

    def _empty(self, database_id):
        parameters = {**self.connection.get_connection_params(), "database": f"d1:{database_id}"}
        with self.connection.wrap_database_errors, driver.connect(**parameters) as connection:
            empty(connection)
