"""The databases that can be inspected: D1, and every tenant's object."""

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from do_bridge import driver
from do_bridge.backends.remote_sqlite.base import DatabaseWrapper
from do_bridge.tenancy import alias_slug, tenant_alias
from do_bridge.tenancy.conf import conf

SHARED = "shared"
_TENANT = "tenant/"


@dataclass(frozen=True)
class Inspected:
    """A database as URLs and pages name it; `slug` is empty for D1."""

    slug: str = ""

    @property
    def path(self):
        """Its name in URLs; a tenant may itself be called "shared"."""
        return f"{_TENANT}{self.slug}" if self.slug else SHARED

    @property
    def alias(self):
        """The alias in DATABASES."""
        return tenant_alias(self.slug) if self.slug else conf("DIRECTORY_ALIAS")

    @property
    def label(self):
        """Its name on pages."""
        return f"Tenant {self.slug}" if self.slug else "D1, the shared database"

    def connect(self, timeout):
        """Return a new driver connection.

        Every call ends after `timeout` seconds. It expects no schema, because a database that is out of date
        can be inspected too.
        """
        wrapper = connections[self.alias]
        if not isinstance(wrapper, DatabaseWrapper):
            raise ImproperlyConfigured(f"The engine of DATABASES[{self.alias!r}] cannot be inspected.")
        wrapper.check_test_database()
        given = wrapper.get_connection_params()
        lease = min(max(timeout, 0.1), 25)
        connection = driver.connect(given["transport"], given["database"], timeout=timeout, lease=lease)
        connection.name = self.alias
        return connection


class DatabaseConverter:
    """The part of a URL that names a database."""

    regex = "shared|tenant/[a-z0-9-]{1,63}"

    def to_python(self, value):
        if value == SHARED:
            return Inspected()
        slug = alias_slug(tenant_alias(value.removeprefix(_TENANT)))
        return Inspected(slug)

    def to_url(self, value):
        return value.path


class NameConverter:
    """The part of a URL that names a table or a row, whatever characters are in it."""

    regex = "[^/]+"
    # Browsers resolve "." and "..", and servers decode "%2F" before the path is matched.
    _ESCAPED = {"~": "~7E", "/": "~2F"}
    _WHOLE = {"": "~00", ".": "~2E", "..": "~2E~2E"}

    def to_python(self, value):
        if value == self._WHOLE[""]:
            return ""
        return value.replace("~2E", ".").replace("~2F", "/").replace("~7E", "~")

    def to_url(self, value):
        if value in self._WHOLE:
            return self._WHOLE[value]
        return "".join(self._ESCAPED.get(char, char) for char in value)
