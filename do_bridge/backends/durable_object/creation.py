"""Test objects: `test/<name>` for each configured Durable Object.

The tenants' template gets a prefix `test/…`.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from do_bridge.backends.remote_sqlite import creation

TEST_PREFIX = "test/"
# The template's test names: prefixes of objects' names.
_template_prefixes = set()


class DatabaseCreation(creation.DatabaseCreation):
    def is_template(self):
        """Whether the alias only lends its settings to tenants' aliases."""
        name = self.connection.settings_dict["NAME"]
        return not name or name in _template_prefixes

    def key(self):
        # Two jurisdictions may have objects of one name.
        return self.connection.object_name()

    def test_db_signature(self):
        return (*super().test_db_signature(), self.connection.settings_dict["OPTIONS"].get("jurisdiction"))

    def is_test_database(self):
        # A test run made it, because no configured object may have such a name (see _get_test_db_name).
        return self.connection.settings_dict["NAME"].startswith(TEST_PREFIX)

    @staticmethod
    def is_of_template(name):
        """Whether the template's test prefix has given a tenant's alias this name."""
        return any(name.startswith(f"{prefix}/") for prefix in _template_prefixes)

    def mark_as_test_database(self, name):
        # A tenant's alias has its test name already, from its template's prefix, which no configured object
        # has.
        if not self.is_of_template(name):
            super().mark_as_test_database(name)

    def _get_test_db_name(self):
        name = self.connection.settings_dict["NAME"] or "tenants"
        known = name in creation.test_names() or self.is_of_template(name)
        if name.startswith(TEST_PREFIX) and not known:
            raise ImproperlyConfigured(
                f"DATABASES[{self.connection.alias!r}]['NAME'] begins with {TEST_PREFIX!r}, which "
                "is reserved for tests. Choose another name."
            )
        chosen = self.connection.settings_dict["TEST"]["NAME"] or name
        if not chosen.startswith(TEST_PREFIX):
            chosen = TEST_PREFIX + chosen
        if not self.is_template():
            self._refuse_others(chosen)
        return chosen

    def _refuse_others(self, chosen):
        """Raise ImproperlyConfigured if another alias has the chosen name in the settings."""
        if chosen in creation.test_names() or self.is_of_template(chosen):
            return
        for alias in settings.DATABASES:
            if settings.DATABASES[alias].get("NAME") == chosen:
                raise ImproperlyConfigured(
                    f"Tests of {self.connection.alias!r} would empty {chosen!r}, the configured "
                    f"object of {alias!r}. Set TEST['NAME'] to another name."
                )

    def create_test_db(self, *args, **kwargs):
        if not self.is_template():
            return super().create_test_db(*args, **kwargs)
        name = self._get_test_db_name()
        self.mark_as_test_database(name)
        _template_prefixes.add(name)
        settings.DATABASES[self.connection.alias]["NAME"] = name
        self.connection.settings_dict["NAME"] = name
        return name

    def serialize_db_to_string(self):
        return "[]" if self.is_template() else super().serialize_db_to_string()

    def deserialize_db_from_string(self, data):
        if not self.is_template():
            super().deserialize_db_from_string(data)

    def forget_rows(self):
        if not self.is_template():
            super().forget_rows()

    def get_test_db_clone_settings(self, suffix):
        name = self.connection.settings_dict["NAME"].removeprefix(TEST_PREFIX)
        return {**self.connection.settings_dict, "NAME": f"{TEST_PREFIX}clone-{suffix}/{name}"}

    def _clone_test_db(self, suffix, verbosity, keepdb=False):
        if self.is_template():
            _template_prefixes.add(self.get_test_db_clone_settings(suffix)["NAME"])
        else:
            super()._clone_test_db(suffix, verbosity, keepdb)

    def _destroy_test_db(self, test_database_name, verbosity):
        if test_database_name not in _template_prefixes:
            super()._destroy_test_db(test_database_name, verbosity)

    def setup_worker_connection(self, _worker_id):
        if self.is_template():
            _template_prefixes.add(self.get_test_db_clone_settings(str(_worker_id))["NAME"])
        super().setup_worker_connection(_worker_id)
