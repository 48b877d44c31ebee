"""Test databases on D1.

They are separate databases, which must exist. Tests empty them and never create them.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from do_bridge.backends.remote_sqlite import creation


class DatabaseCreation(creation.DatabaseCreation):
    """Test databases of a D1 alias; TEST["NAME"] is the id of the database to use.

    TEST["CLONES"] lists one more for each process.
    """

    def test_db_signature(self):
        return (self.connection.settings_dict["HOST"], self._get_test_db_name().lower())

    def _get_test_db_name(self):
        return self._other_than_configured(self.connection.settings_dict["TEST"].get("NAME"), "NAME")

    def _other_than_configured(self, database_id, setting):
        """Return the id; raise ImproperlyConfigured if it can't be used for tests.

        It can't if it is missing or belongs to a configured database.
        """
        where = f"DATABASES[{self.connection.alias!r}]['TEST'][{setting!r}]"
        if not database_id:
            raise ImproperlyConfigured(
                f"{where} is not set. Tests empty their database, so set it to the id of a D1 "
                "database that holds nothing else."
            )
        if database_id.lower() in self._configured():
            raise ImproperlyConfigured(
                f"{where} is the id of a configured database, which tests would empty. Set it to "
                "the id of another one."
            )
        return database_id

    def _configured(self):
        """Return the lower-case names of all aliases that are not test databases already."""
        # Of every engine, because an engine that builds on this one may use the same database.
        aliases = [self.connection.settings_dict]
        aliases += [settings.DATABASES[alias] for alias in settings.DATABASES]
        names = {str(alias.get("NAME") or "").lower() for alias in aliases}
        return names - {name.lower() for name in creation.test_names()}

    def get_test_db_clone_settings(self, suffix):
        clones = self.connection.settings_dict["TEST"].get("CLONES") or []
        if not str(suffix).isdecimal() or not 1 <= int(suffix) <= len(clones):
            raise ImproperlyConfigured(
                "Parallel tests need a D1 database for each process, but "
                f"DATABASES[{self.connection.alias!r}]['TEST']['CLONES'] lists {len(clones)} and "
                f"this is process {suffix}. Add ids, or run fewer processes."
            )
        name = self._other_than_configured(clones[int(suffix) - 1], "CLONES")
        return {**self.connection.settings_dict, "NAME": name}
