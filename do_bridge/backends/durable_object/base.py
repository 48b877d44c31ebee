"""The connection wrapper for one Durable Object, over the relay."""

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from do_bridge import driver
from do_bridge.backends.remote_sqlite import base
from do_bridge.driver.places import JURISDICTIONS, join_place

from .creation import DatabaseCreation
from .features import DatabaseFeatures

POOL_OPTIONS = ("pool_size", "connect_timeout")
CONNECTION_OPTIONS = ("timeout", "lease")
# Read by the migration executor.
MIGRATION_OPTIONS = ("migration_lease",)
OPTIONS = (
    *(*POOL_OPTIONS, "spare_sessions", *CONNECTION_OPTIONS, *MIGRATION_OPTIONS),
    *("write_keys", "jurisdiction"),
)


class TemplateUsed(ImproperlyConfigured, CommandError):
    """A connection to the tenants' template was opened.

    A command prints the message without a traceback.
    """


class DatabaseWrapper(base.DatabaseWrapper):
    """An alias whose NAME is the name of a Durable Object, in OPTIONS["jurisdiction"].

    Without a NAME it is the template of the tenants' aliases, and the jurisdiction is their default.
    """

    display_name = "SQLite Durable Object"
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures

    def get_connection_params(self):
        if self.creation.is_template():
            raise TemplateUsed(
                f"{self.alias!r} is only the template for the tenants' databases. Name a tenant: "
                f"{self.alias}/<slug> as the alias, or tenant_context('<slug>'). `manage.py "
                "all_tenants_command` runs a command for each tenant. To use one Durable Object "
                "under this alias, set its NAME."
            )
        self.require_settings(HOST="the relay's URL", PASSWORD="the relay's token")  # noqa: S106
        options = self.settings_dict["OPTIONS"]
        self.require_known_options(OPTIONS)
        return {
            "transport": self.get_transport(),
            "database": f"do:{self.object_name()}",
            **{name: float(options[name]) for name in CONNECTION_OPTIONS if name in options},
            "write_keys": bool(options.get("write_keys", True)),
        }

    def object_name(self):
        """Return the name of the object with its jurisdiction: ``tenant/acme@eu``.

        The jurisdiction is a tenant's own, or that in the OPTIONS. Raises ImproperlyConfigured for an unknown
        jurisdiction, and for a NAME that has one.
        """
        name, own = self.settings_dict["NAME"], getattr(self.settings_dict, "jurisdiction", None)
        jurisdiction = self.settings_dict["OPTIONS"].get("jurisdiction") if own is None else own()
        where = f"DATABASES[{self.alias!r}]"
        if "@" in name:
            raise ImproperlyConfigured(
                f"{where}['NAME'] has an '@', which separates a jurisdiction. Write the name alone, and the "
                "jurisdiction as OPTIONS['jurisdiction']."
            )
        if jurisdiction and jurisdiction not in JURISDICTIONS:
            raise ImproperlyConfigured(
                f"{where}['OPTIONS']['jurisdiction'] is {jurisdiction!r}. Use one of "
                f"{', '.join(map(repr, JURISDICTIONS))}, or leave it out."
            )
        return join_place(name, jurisdiction)

    def ensure_connection(self):
        super().ensure_connection()
        # A tenant may have moved since this connection was opened.
        if (follow := getattr(self.settings_dict, "follow", None)) is not None:
            follow(self.connection)

    def get_transport(self):
        """Return the transport of this process to the relay."""
        settings, options = self.settings_dict, self.settings_dict["OPTIONS"]
        pool = {name: options[name] for name in POOL_OPTIONS if name in options}
        return driver.relay(settings["HOST"], settings["PASSWORD"], **pool)
